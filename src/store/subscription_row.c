/*-------------------------------------------------------------------------
 *
 * subscription_row.c
 *	  A subscriber's own row in outbox.subscription. It is read when the
 *	  process attaches, and again when somebody has changed the table, which it
 *	  is told of. What it says of failures becomes the policy of the process
 *	  (policy.h).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/policy.h"
#include "store/row.h"
#include "store/statement.h"
#include "store/subscription_row.h"

/* columns of the statement */
enum
{
	NAME = 1,
	NUMBER,
	CREATED_AT,
	TOPICS,
	HANDLER,
	ROLE,
	CLUSTER,
	START,
	WORKERS,
	ON_FAILURE,
	BASE_DELAY,
	MULTIPLIER,
	MAX_DELAY,
	MAX_ATTEMPTS,
	HANDLER_TIMEOUT,
	ID_HEADER,
	SKIP_GAPS,
	DEAD_LETTER_TOPIC,
	GROUP_ID,
	BATCH_SIZE,
	PAUSED,
	PAUSE_REASON,
};

/* An array of texts, as a list of strings */
static List *
strings(int number)
{
	bool is_null;
	Datum value = outbox_row_column(number, &is_null);
	List *list = NIL;
	Datum *elements;
	int count;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

static int
on_failure(void)
{
	const char *value = outbox_row_string(ON_FAILURE);

	if (strcmp(value, "skip") == 0)
		return OUTBOX_ON_FAILURE_SKIP;
	if (strcmp(value, "halt") == 0)
		return OUTBOX_ON_FAILURE_HALT;
	if (strcmp(value, "block_partition") == 0)
		return OUTBOX_ON_FAILURE_BLOCK_PARTITION;
	return OUTBOX_ON_FAILURE_BLOCK_KEY;
}

/* What the row says of failures becomes our policy, the rest of which is for
 * events. */
static void
set_policy(const OutboxSubscription *subscription)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox policy", ALLOCSET_SMALL_SIZES);
	OutboxPolicy policy = {.created_at = subscription->created_at};

	policy.event_headers = -1;
	policy.on_failure = subscription->on_failure;
	policy.retry_base_delay_ms = outbox_row_integer(BASE_DELAY);
	policy.retry_multiplier = outbox_row_real(MULTIPLIER);
	policy.retry_max_delay_ms = outbox_row_integer(MAX_DELAY);
	policy.retry_max_attempts = outbox_row_integer(MAX_ATTEMPTS);
	policy.dead_letter_topic =
		MemoryContextStrdup(context, subscription->dead_letter_topic);
	outbox_policy_set_row(&policy, context);
}

static OutboxSubscription *
make_subscription(void)
{
	OutboxSubscription *result = palloc0(sizeof(OutboxSubscription));
	bool is_null;

	result->name = outbox_row_string(NAME);
	result->number = outbox_row_integer(NUMBER);
	result->created_at =
		DatumGetTimestampTz(outbox_row_column(CREATED_AT, &is_null));
	result->topics = strings(TOPICS);
	result->handler = outbox_row_string(HANDLER);
	result->role = DatumGetObjectId(outbox_row_column(ROLE, &is_null));
	result->cluster = outbox_row_string(CLUSTER);
	result->start = outbox_row_string(START);
	result->workers = outbox_row_integer(WORKERS);
	result->on_failure = on_failure();
	result->handler_timeout_ms = outbox_row_integer(HANDLER_TIMEOUT);
	result->id_header = outbox_row_string(ID_HEADER);
	result->skip_gaps = outbox_row_boolean(SKIP_GAPS);
	result->dead_letter_topic = outbox_row_string(DEAD_LETTER_TOPIC);
	result->group = outbox_row_string(GROUP_ID);
	result->batch_size = outbox_row_integer(BATCH_SIZE);
	result->paused = outbox_row_boolean(PAUSED);
	result->pause_reason = outbox_row_string(PAUSE_REASON);
	return result;
}

/* Takes over the row, if it is there. */
static void
take(uint64 rows, void *arg)
{
	OutboxSubscription **result = arg;
	MemoryContext context;
	MemoryContext old_context;

	if (rows == 0)
		return;
	/* if there is an error, it goes with the transaction */
	context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox subscription", ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	*result = make_subscription();
	(*result)->context = context;
	set_policy(*result);
	MemoryContextSwitchTo(old_context);
	MemoryContextSetParent(context, TopMemoryContext);
}

/*
 * Reads the row of the subscription of that name, in a transaction of its own,
 * and makes it our policy. subscription becomes NULL if there is none; else it
 * is in a memory context of its own, which is the caller's to delete.
 */
OutboxStoreStatus
outbox_subscription_row_read(const char *name,
							 OutboxSubscription **subscription)
{
	static OutboxStatement statement = {
		.sql = "SELECT name, number::int, created_at, topics, handler, role,"
			   "  cluster, start, workers::int, on_failure,"
			   "  (extract(epoch FROM retry_base_delay) * 1000)::int,"
			   "  retry_multiplier,"
			   "  (extract(epoch FROM retry_max_delay) * 1000)::int,"
			   "  retry_max_attempts,"
			   "  (extract(epoch FROM handler_timeout) * 1000)::int,"
			   "  id_header, on_gap = 'skip',"
			   "  COALESCE(dead_letter_topic, ''), group_id, batch_size,"
			   "  paused_at IS NOT NULL, pause_reason"
			   " FROM outbox.subscription WHERE name = $1",
		.read_only = true,
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[] = {outbox_store_text(name)};

	*subscription = NULL;
	return outbox_store_query("outbox: reading a subscription", &statement,
							  values, take, subscription);
}
