"""trace_request.py DOC SERVERS CONNINFO: runs the recipe of doc/tracing.md, from
a request to the consumer, and writes each span and record as a line of JSON.

Orders: 1 with join_trace(), 2 the same, rolled back, 3 by sqlcommenter, 4 without
a span."""

import json
import re
import sys

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import \
    InMemorySpanExporter
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

doc, bootstrap, conninfo = sys.argv[1:]
exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

with open(doc, encoding="utf-8") as file:
    blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)
commenter = [block for block in blocks if "enable_commenter" in block]
recipe = {}
for block in blocks:
    if block not in commenter:
        exec(block, recipe)
tracer = recipe["tracer"]

# of who has called us
caller = trace.set_span_in_context(trace.NonRecordingSpan(SpanContext(
    0x4bf92f3577b34da6a3ce929d0e0e4736, 0x00f067aa0ba902b7, True,
    TraceFlags(1), TraceState([("congo", "t61rcWkgMzE")]))))

with psycopg.connect(conninfo, autocommit=True) as connection:
    with tracer.start_as_current_span("request 1", context=caller):
        recipe["place_order"](connection, 1, "tea")
    try:
        with tracer.start_as_current_span("request 2"), \
                connection.transaction():
            recipe["place_order"](connection, 2, "coffee")
            raise RuntimeError("no coffee")
    except RuntimeError:
        pass

for block in commenter:
    exec(block, recipe)
with psycopg.connect(conninfo, autocommit=True) as connection:
    connection.execute("SET outbox.trace_from_comment = on")
    with tracer.start_as_current_span("request 3", context=caller):
        connection.execute("SELECT outbox_emit('orders', %s, %s)",
                           (3, "milk"))
    connection.execute("SET outbox.trace_from_comment = off")
    recipe["place_order"](connection, 4, "rum")

consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "trace"})
consumer.assign([TopicPartition("orders", 0, OFFSET_BEGINNING)])
for _ in range(3):
    message = consumer.poll(60)
    if message is None or message.error() is not None:
        sys.exit(f"no record: {message and message.error()}")
    recipe["handle"](message, lambda message: None)
    print(json.dumps({
        "order": message.key().decode(),
        "headers": {name: value.decode()
                    for name, value in message.headers()}}))
consumer.close()

for span in exporter.get_finished_spans():
    print(json.dumps({
        "span": span.name,
        "kind": span.kind.name,
        "id": f"{span.context.span_id:016x}",
        "trace": f"{span.context.trace_id:032x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent else None,
        "message": span.attributes.get("messaging.message.id")}))
