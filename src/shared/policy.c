/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  What this relay publishes, and what it does about events that fail. The
 *	  row is kept as it was read last, so that a reload needs no table.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"

#include "shared/my_relay.h"
#include "shared/policy.h"
#include "uri.h"

OutboxPolicy outbox_policy;

/* as it was read last, in a context of its own */
static OutboxPolicy row;
static MemoryContext row_context = NULL;

/*
 * This is what our row has now; its strings are in that context, which becomes
 * ours.
 */
void
outbox_policy_set_row(const OutboxPolicy *new_row, MemoryContext context)
{
	MemoryContext old_context = row_context;

	MemoryContextSetParent(context, TopMemoryContext);
	row = *new_row;
	row_context = context;
	outbox_policy_resolve();
	/* only now nobody points there any more */
	if (old_context != NULL)
		MemoryContextDelete(old_context);
}

/* The source of events without one: as set, or the name of our database */
static const char *
default_source(void)
{
	static char *database = NULL;

	if (outbox_event_source[0] != '\0')
		return outbox_event_source;
	if (database == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		database = outbox_uri_from_name(outbox_my_relay.database);
		MemoryContextSwitchTo(old_context);
	}
	return database;
}

/* Settings may have changed: takes those that the row leaves open. */
void
outbox_policy_resolve(void)
{
	outbox_policy = row;
	if (row.topic_prefix == NULL)
		outbox_policy.topic_prefix = "";
	if (row.event_headers < 0)
		outbox_policy.event_headers = outbox_event_headers;
	outbox_policy.envelope.kind = outbox_policy.event_headers;
	outbox_policy.envelope.source = default_source();
	if (row.on_failure < 0)
		outbox_policy.on_failure = outbox_on_failure;
	if (row.retry_base_delay_ms < 0)
		outbox_policy.retry_base_delay_ms = outbox_retry_base_delay_ms;
	if (row.retry_multiplier < 0)
		outbox_policy.retry_multiplier = outbox_retry_multiplier;
	if (row.retry_max_delay_ms < 0)
		outbox_policy.retry_max_delay_ms = outbox_retry_max_delay_ms;
	if (row.retry_max_attempts < 0)
		outbox_policy.retry_max_attempts = outbox_retry_max_attempts;
	if (row.dead_letter_topic == NULL)
		outbox_policy.dead_letter_topic = outbox_dead_letter_topic;
}
