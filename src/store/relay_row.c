/*-------------------------------------------------------------------------
 *
 * relay_row.c
 *	  This relay's own row in outbox.relay, which becomes its policy
 *	  (policy.h). It is read when the relay attaches, and again when somebody
 *	  has changed the table, which the relay is told of.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/my_relay.h"
#include "shared/policy.h"
#include "store/relay_row.h"
#include "store/row.h"
#include "store/statement.h"

/* columns of the statement */
enum
{
	CREATED_AT = 1,
	TOPICS,
	EXCLUDING,
	TOPIC_PREFIX,
	PAUSED,
	ON_FAILURE,
	BASE_DELAY,
	MULTIPLIER,
	MAX_DELAY,
	MAX_ATTEMPTS,
	DEAD_LETTER_TOPIC,
	EVENT_HEADERS,
};

static ArrayType *
array(int number)
{
	bool is_null;
	Datum value = outbox_row_column(number, &is_null);

	return is_null ? NULL : DatumGetArrayTypePCopy(value);
}

static int
on_failure(void)
{
	const char *value = outbox_row_string(ON_FAILURE);

	if (value == NULL)
		return -1;
	if (strcmp(value, "skip") == 0)
		return OUTBOX_ON_FAILURE_SKIP;
	if (strcmp(value, "halt") == 0)
		return OUTBOX_ON_FAILURE_HALT;
	return OUTBOX_ON_FAILURE_BLOCK_KEY;
}

static int
event_headers(void)
{
	const char *value = outbox_row_string(EVENT_HEADERS);

	if (value == NULL)
		return -1;
	if (strcmp(value, "none") == 0)
		return OUTBOX_EVENT_HEADERS_NONE;
	if (strcmp(value, "cloudevents") == 0)
		return OUTBOX_EVENT_HEADERS_CLOUDEVENTS;
	if (strcmp(value, "debezium") == 0)
		return OUTBOX_EVENT_HEADERS_DEBEZIUM;
	return OUTBOX_EVENT_HEADERS_PLAIN;
}

/* Takes over the row, if it is there. */
static void
take(uint64 rows, void *arg)
{
	bool *found = arg;
	MemoryContext context;
	MemoryContext old_context;
	OutboxPolicy row;
	bool is_null;

	*found = (rows == 1);
	if (!*found)
		return;
	/* if there is an error, it goes with the transaction */
	context = AllocSetContextCreate(CurrentMemoryContext, "outbox policy",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	row.created_at =
		DatumGetTimestampTz(outbox_row_column(CREATED_AT, &is_null));
	row.topics = array(TOPICS);
	row.excluding = array(EXCLUDING);
	row.topic_prefix = outbox_row_string(TOPIC_PREFIX);
	row.paused = outbox_row_boolean(PAUSED);
	row.on_failure = on_failure();
	row.retry_base_delay_ms = outbox_row_integer(BASE_DELAY);
	row.retry_multiplier = outbox_row_real(MULTIPLIER);
	row.retry_max_delay_ms = outbox_row_integer(MAX_DELAY);
	row.retry_max_attempts = outbox_row_integer(MAX_ATTEMPTS);
	row.dead_letter_topic = outbox_row_string(DEAD_LETTER_TOPIC);
	row.event_headers = event_headers();
	MemoryContextSwitchTo(old_context);
	outbox_policy_set_row(&row, context);
}

/*
 * Reads our row, in a transaction of its own, and makes it our policy; found:
 * is it there, and still of the relay that this process has become?
 */
OutboxStoreStatus
outbox_relay_row_read(bool *found)
{
	static OutboxStatement statement = {
		.sql = "SELECT created_at, topics, excluding, topic_prefix,"
			   "  paused_at IS NOT NULL, on_failure,"
			   "  (extract(epoch FROM retry_base_delay) * 1000)::int,"
			   "  retry_multiplier,"
			   "  (extract(epoch FROM retry_max_delay) * 1000)::int,"
			   "  retry_max_attempts, dead_letter_topic,"
			   "  event_headers"
			   " FROM outbox.relay WHERE name = $1",
		.read_only = true,
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[] = {outbox_store_text(outbox_my_relay.name)};
	uint32 seen_before = outbox_my_relay.changes_seen;
	TimestampTz created_before = outbox_policy.created_at;
	OutboxStoreStatus status;

	/* before the snapshot: what is changed after it is seen the next time */
	outbox_my_relay.changes_seen =
		pg_atomic_read_u32(&outbox_my_relay.db->relay_changes);
	status = outbox_store_query("outbox: reading what to publish", &statement,
								values, take, found);
	if (status != OUTBOX_STORE_OK)
		outbox_my_relay.changes_seen = seen_before;
	else if (*found && created_before != 0)
		*found = (outbox_policy.created_at == created_before);
	return status;
}
