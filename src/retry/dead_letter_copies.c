/*-------------------------------------------------------------------------
 *
 * dead_letter_copies.c
 *	  Publishes a copy of each dead letter to outbox.dead_letter_topic, and
 *	  removes dead letters after outbox.dead_letter_retention.
 *
 * The copies go through a sink of their own, which is open only while there
 * are any to publish. A copy has the event's key, payload and headers, and in
 * headers what went wrong. If the topic cannot be written to, it is tried
 * again with growing delays; the dead letters themselves are in
 * outbox.dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "format/record.h"
#include "guc.h"
#include "poison/guard.h"
#include "retry/backoff.h"
#include "retry/blocked_keys.h"
#include "retry/dead_letter_copies.h"
#include "shared/chores.h"
#include "shared/event_log.h"
#include "shared/my_relay.h"
#include "shared/policy.h"
#include "shared/times.h"
#include "sink/sender.h"
#include "store/dead_letters.h"
#include "store/inbox_dead.h"
#include "store/parked_held.h"

#define BATCH_EVENTS    500

/* what part of outbox.window_size the copies of a batch may take; one may
 * always be on its way */
#define BATCH_SHARE     8
#define EXPIRE_EVERY_MS 600000

StaticAssertDecl(BATCH_EVENTS <= OUTBOX_SENDER_BATCH_MAX, "see sender.h");

static OutboxSender sender; /* open while there are any to publish */
static bool added = true;   /* at the start, nobody knows */
static uint32 for_all_seen; /* dead letters that one relay makes for all */
static uint64 ids[BATCH_EVENTS];
static bool delivered[BATCH_EVENTS];
static int batch_limit = BATCH_EVENTS; /* less after an error */
static int count = 0;                  /* 0 = no batch under way */
static int64 bytes_left = 0; /* of memory for the copies of the batch */
static bool failed = false;
static int failures = 0;  /* one after another */
static bool held = false; /* others have locked some rows */
static char *told = NULL; /* the error told last, to tell it once */
static TimestampTz not_before = 0;
static TimestampTz expired_at = 0; /* 0 = not yet by this process */

static void
init(const OutboxSinkApi *sink_api)
{
	outbox_sender_init(&sender, sink_api, "copies of dead letters");
}

/* Are there any to publish, and a topic to take them? */
static bool
is_wanted(void)
{
	return added && outbox_policy.dead_letter_topic[0] != '\0' &&
		   outbox_blocked_keys_is_loaded() &&
		   !outbox_blocked_keys_is_paused(outbox_policy.dead_letter_topic);
}

/* There is a new dead letter. */
void
outbox_dead_letter_copies_added(void)
{
	added = true;
}

/* Perhaps they can be published now. */
static void
reload(void)
{
	failures = 0;
	not_before = 0;
}

/* Says that copies cannot be published, once for each reason. */
static void
report_failure(const char *error)
{
	failed = true;
	if (told != NULL && strcmp(told, error) == 0)
		return;
	if (told != NULL)
		pfree(told);
	told = MemoryContextStrdup(TopMemoryContext, error);
	ereport(LOG, (errmsg("%s: could not publish dead letters to topic "
						 "\"%s\": %s",
						 outbox_my_relay.label,
						 outbox_policy.dead_letter_topic, error),
				  errdetail("They are kept in outbox.dead_letter, and it is "
							"tried again.")));
}

/* Closes the sink; copies without an answer are published again. */
static void
close_sink(void)
{
	count = 0;
	outbox_sender_close(&sender);
}

/* Takes an event into the batch. */
static void
add(const OutboxEvent *event, bool is_done)
{
	ids[count] = event->id;
	delivered[count] = is_done;
	count++;
}

/* The log is told of a dead letter, not of its copy, which has another topic.
 */
static void
tell_too_large(const OutboxEvent *copy, const char *error)
{
	static const char header[] = "dead_letter_topic";
	OutboxEvent event = *copy;
	JsonbValue topic;

	if (getKeyJsonValueFromContainer(&copy->headers->root, header,
									 sizeof(header) - 1, &topic) != NULL)
		event.topic = cstring_to_text_with_len(topic.val.string.val,
											   topic.val.string.len);
	outbox_event_log(&event, "is too large for a copy", error);
}

/* Hands one copy to the sink. */
static bool
send(const OutboxEvent *event, void *arg)
{
	OutboxRecord record;
	OutboxFailure failure;
	char error[OUTBOX_SINK_ERROR_MAX];

	(void) arg;
	if (outbox_held_by_others(event))
	{
		held = true;
		return true;
	}
	record.tag = sender.first_tag + count;
	if (!outbox_record_from_event(&record, event, &outbox_policy.envelope,
								  error))
	{
		/* nor will it ever be possible */
		tell_too_large(event, error);
		add(event, true);
		return true;
	}
	if (record.bytes > bytes_left && sender.in_flight > 0)
		return false;
	bytes_left -= record.bytes;
	add(event, false);
	switch (outbox_sender_hand_over(&sender, &record, &failure, error))
	{
		case OUTBOX_SINK_ACCEPTED:
			return true;
		case OUTBOX_SINK_REFUSED:
			report_failure(error);
			break;
		case OUTBOX_SINK_ENDED:
			report_failure("the producer has failed");
			break;
		case OUTBOX_SINK_FULL:
			break;
	}
	count--;
	return false;
}

static void
poll(void)
{
	OutboxSinkEvent event;

	while (outbox_sender_poll(&sender, &event))
	{
		switch (event.type)
		{
			case OUTBOX_SINK_DELIVERED:
				delivered[event.tag - sender.first_tag] = true;
				break;
			case OUTBOX_SINK_FAILED:
			case OUTBOX_SINK_FATAL:
				report_failure(event.message);
				break;
			case OUTBOX_SINK_PURGED:
			case OUTBOX_SINK_LOG:
			case OUTBOX_SINK_TOPIC:
			case OUTBOX_SINK_LOST:
			case OUTBOX_SINK_UNREACHABLE:
			case OUTBOX_SINK_STATISTICS:
				break;
		}
	}
}

/* All answers are here: notes which copies have been published. */
static OutboxStoreStatus
end_batch(void)
{
	uint64 published[BATCH_EVENTS];
	int n = 0;
	OutboxStoreStatus status = OUTBOX_STORE_OK;

	for (int i = 0; i < count; i++)
	{
		if (delivered[i])
			published[n++] = ids[i];
	}
	if (n > 0)
		status = outbox_held_note(OUTBOX_HELD_ANNOUNCED, outbox_my_relay.name,
								  published, n, 0);
	if (status != OUTBOX_STORE_OK)
		return status;

	count = 0;
	if (failed || sender.state == OUTBOX_SENDER_ENDING)
	{
		close_sink();
		not_before = outbox_backoff_next(++failures);
	}
	else
		failures = 0;
	return OUTBOX_STORE_OK;
}

static OutboxStoreStatus
begin_batch(const OutboxSinkConfig *config)
{
	OutboxSinkConfig alone = *config;
	OutboxStoreStatus status;
	int limit;
	const char *raised;
	uint64 rows;

	alone.batch_bytes = 1;
	outbox_sender_begin_batch(&sender, &alone);
	if (outbox_guard_condemned(&raised) != 0)
	{
		/* it is the first, and gets none */
		status = outbox_dead_letters_skip_copy(outbox_my_relay.name, raised);
		if (status != OUTBOX_STORE_OK)
			return status;
		outbox_guard_acquit();
	}
	if (outbox_guard_suspect() != 0)
		batch_limit = 1;
	limit = Min(batch_limit, outbox_held_room(OUTBOX_HELD_ANNOUNCED));
	failed = false;
	held = (limit == 0);
	bytes_left = (int64) config->window_size_kb * 1024 / BATCH_SHARE;
	outbox_event_in_hand = OUTBOX_EVENT_UNKNOWN;
	status = outbox_dead_letters_to_copy(outbox_my_relay.name,
										 outbox_policy.dead_letter_topic,
										 limit, send, NULL, &rows);
	outbox_guard_acquit();
	batch_limit = Min(batch_limit * 2, BATCH_EVENTS);
	if (status != OUTBOX_STORE_OK || count > 0)
		return status;
	if (failed)
		return end_batch();
	if (held)
	{
		not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 OUTBOX_PARKED_ROWS_RETRY_MS);
		return OUTBOX_STORE_OK;
	}
	added = false;
	close_sink();
	return OUTBOX_STORE_OK;
}

/* Removes old dead letters, and what is known of discarded ones, if it is
 * time. */
static OutboxStoreStatus
expire(void)
{
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status = OUTBOX_STORE_OK;

	if (!TimestampDifferenceExceeds(expired_at, now, EXPIRE_EVERY_MS))
		return OUTBOX_STORE_OK;
	expired_at = now;
	if (outbox_dead_letter_retention_s > 0)
		status = outbox_dead_letters_remove_old(
			outbox_my_relay.name, outbox_dead_letter_retention_s);
	/* those of subscriptions are among the chores */
	if (status == OUTBOX_STORE_OK && outbox_dead_letter_retention_s > 0 &&
		outbox_chores_are_mine())
		status = outbox_inbox_dead_remove_old(outbox_dead_letter_retention_s);
	if (status == OUTBOX_STORE_OK)
		status = outbox_dead_letters_forget_discarded(outbox_my_relay.name);
	return status;
}

/* Has each of the batch its answer, or are there no more to be expected? */
static bool
is_answered(void)
{
	return sender.state == OUTBOX_SENDER_ENDING
			   ? outbox_sender_take_back(&sender, OUTBOX_SENDER_ENDING_MS)
			   : sender.in_flight == 0;
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	uint32 for_all = pg_atomic_read_u32(&outbox_my_relay.db->dead_for_all);
	OutboxStoreStatus status = expire();
	bool worked = false;

	added = added || for_all != for_all_seen;
	for_all_seen = for_all;
	poll();
	if (status == OUTBOX_STORE_OK && count == 0 &&
		outbox_held_next(OUTBOX_HELD_ANNOUNCED) <= GetCurrentTimestamp())
		status = outbox_held_note_again(OUTBOX_HELD_ANNOUNCED,
										outbox_my_relay.name, 0);
	if (status != OUTBOX_STORE_OK || GetCurrentTimestamp() < not_before)
		return outbox_store_task_result(status, false);
	if (count > 0 && is_answered())
	{
		worked = true;
		status = end_batch();
	}
	else if (count == 0 && is_wanted())
	{
		worked = true;
		status = begin_batch(round->config);
	}
	return outbox_store_task_result(status, worked);
}

/* Are there copies without an answer? */
bool
outbox_dead_letter_copies_are_under_way(void)
{
	return count > 0;
}

/* How long there is nothing to do but to take in answers; -1 = forever */
static long
timeout_ms(const OutboxRound *round)
{
	TimestampTz next = outbox_held_next(OUTBOX_HELD_ANNOUNCED);

	(void) round;
	if (count > 0)
		return outbox_sender_timeout_ms(&sender);
	if (is_wanted())
		next = Min(next, not_before);
	if (next == DT_NOEND)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
}

OutboxTask outbox_dead_letter_copies_task = {
	.name = "copying dead letters",
	.needs = OUTBOX_TASK_NEEDS_TO_PUBLISH,
	.care = OUTBOX_TASK_NOT_AT_ALL, /* their sink is not looked after */
	.init = init,
	.run = run,
	.timeout_ms = timeout_ms,
	.reload = reload,
	.close = close_sink,
};
