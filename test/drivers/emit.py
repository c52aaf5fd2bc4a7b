"""Calls outbox_emit() through psycopg 3, with the parameters an application passes.

The topic names the case; test/t/090_drivers.pl reads the events back from
outbox.event and knows what each case must have stored. The connection comes
from the PG* variables.

What psycopg sends: str and None without a type (the server takes them as
text), int as the smallest of smallint, integer, bigint and numeric that holds
the value, bytes as bytea, UUID as uuid, Jsonb() as jsonb. A bare dict has no
adapter: wrap it in Jsonb().
"""

import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import psycopg
from psycopg.types.json import Json, Jsonb

EMIT = "SELECT outbox_emit(%s, %s, %s)"
EMIT_HEADERS = "SELECT outbox_emit(%s, %s, %s, %s)"
EMIT_NAMED = ("SELECT outbox_emit(topic => %(topic)s, key => %(key)s, "
              "payload => %(payload)s, headers => %(headers)s)")
EMIT_TIMES = ("SELECT outbox_emit(%s, %s, %s, deliver_after => %s, "
              "expires_at => %s)")

UUID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
OBJECT = {"a": 1, "b": [True, None]}
HEADERS = {"source": "driver"}

CASES = [
    ("string", "k", "grüße €"),
    ("empty", "", ""),
    ("int_small", 7, "x"),
    ("int_big", 9007199254740993, "x"),
    ("numeric", Decimal("12.5"), "x"),
    ("uuid", UUID, "x"),
    ("json", 7, Jsonb(OBJECT)),
    ("json_text", 7, Json(OBJECT)),
    ("bytes", 7, b"\x00\xff\n"),
    ("null_payload", 7, None),
    ("null_key", None, "x"),
    ("null_both", None, None),
]


def main():
    with psycopg.connect(autocommit=True) as conn:
        for case in CASES:
            conn.execute(EMIT, case)
        conn.execute(EMIT_HEADERS, ("headers", 7, "x", Jsonb(HEADERS)))
        conn.execute(EMIT_HEADERS, ("headers_null", 7, None, None))
        conn.execute(EMIT_NAMED, {"topic": "named", "key": 7,
                                  "payload": Jsonb(OBJECT),
                                  "headers": Jsonb(HEADERS)})
        conn.execute(EMIT_TIMES, ("times", 7, "x", timedelta(0),
                                  datetime.now(timezone.utc)
                                  + timedelta(hours=23)))

        # The sixth run of a statement uses a server-side prepared one.
        for i in range(10):
            conn.execute(EMIT, ("prepared", i, f"value {i}"))

        with conn.transaction():
            conn.execute(EMIT, ("transaction", 1, Jsonb(OBJECT)))
            try:
                with conn.transaction():
                    conn.execute(EMIT, ("transaction", 2, "savepoint"))
                    raise psycopg.Rollback
            except psycopg.Rollback:
                pass
            conn.execute(EMIT, ("transaction", 3, Jsonb(OBJECT)))
        with conn.transaction(force_rollback=True):
            conn.execute(EMIT, ("transaction", 4, "rolled back"))

        with conn.transaction(), conn.cursor() as cur:
            cur.executemany(EMIT, [("batch", i, "x") for i in range(3)])


main()
