/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  Tries parked events again, beside the stream, through a sink of its own
 *	  in which each event is alone in its batch. So a refusal names its
 *	  culprit, and other keys keep their full speed.
 *
 * It goes in rounds: a few blocks that are due, of each the first event, or
 * more if the block is open because an event of it has just gone through;
 * then it waits, without holding anything up, for all answers, and writes
 * down what became of them. Events of a block are sent in order, and the sink
 * stops at the first that fails, so that none overtakes another. An event of
 * the stream whose topic or key is blocked joins the queue (publish.c); when
 * the queue of a block is found empty, the block is gone.
 *
 * What becomes of an event that fails: attempt.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "attempt.h"
#include "blocks.h"
#include "liblog.h"
#include "record.h"
#include "retry.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wait.h"

#define ROUND_EVENTS     1000
#define ROUND_BLOCKS     200

/* after a refusal the sink is a new one; not too many of them */
#define AFTER_REFUSAL_MS 100

/* how soon locked tables are tried again */
#define BUSY_RETRY_MS    50

/* after so long without an answer, the oldest event's topic is looked at */
#define STUCK_MS         4000
#define CHECK_TOPIC_MS   1000
#define ANSWERS_MS       10000 /* of a sink that has ended */

static OutboxDatabase *db;
static const char *relay;
static const OutboxSinkApi *api;
static OutboxSink *sink = NULL;
static bool sink_ended = false;
static TimestampTz ended_at = 0;
static MemoryContext round_context = NULL;
static OutboxAttempt *attempts_made = NULL; /* NULL = no round under way */
static int attempt_count = 0;
static int unanswered = 0;
static bool stopped = false; /* the last block was not read to its end */
static uint64 first_tag = 0; /* tag of attempts_made[0] */
static TimestampTz answered_at = 0; /* the last answer of this round */
static TimestampTz not_before = 0;
static TimestampTz next_due = 0; /* of all blocks; 0 = look */

/* Called once, when the relay has attached. */
void
outbox_retry_init(OutboxDatabase *database, const char *relay_name,
				  const OutboxSinkApi *sink_api)
{
	db = database;
	relay = relay_name;
	api = sink_api;
	round_context = AllocSetContextCreate(TopMemoryContext, "outbox retry",
										  ALLOCSET_DEFAULT_SIZES);
	outbox_blocks_init(database, relay_name);
}

/* Nothing more must be sent by this sink: asks back what it has not sent. */
static void
end_sink(void)
{
	if (sink_ended)
		return;
	sink_ended = true;
	ended_at = GetCurrentTimestamp();
	api->purge(sink);
}

/* Hands one parked event to the sink. */
static bool
send(const OutboxEvent *event, void *arg)
{
	OutboxAttempt *attempt = &attempts_made[attempt_count];
	MemoryContext old_context = MemoryContextSwitchTo(round_context);
	OutboxRecord record;
	char error[OUTBOX_SINK_ERROR_MAX];
	OutboxSinkAnswer answer;

	outbox_record_from_event(&record, event);
	record.tag = first_tag + attempt_count;
	attempt->id = event->id;
	attempt->entry = arg;
	attempt->attempts = event->attempts;
	attempt->topic = unconstify(char *, record.topic);
	answer = api->publish(sink, &record, &attempt->failure, error);
	if (answer == OUTBOX_SINK_ACCEPTED)
	{
		attempt->state = OUTBOX_ATTEMPT_SENT;
		unanswered++;
	}
	else if (answer == OUTBOX_SINK_REFUSED)
	{
		attempt->state = OUTBOX_ATTEMPT_FAILED;
		attempt->error = pstrdup(error);
	}
	else
	{
		/* it was not taken; nor would be those behind it */
		attempt->state = OUTBOX_ATTEMPT_RETURNED;
		if (answer == OUTBOX_SINK_ENDED)
			end_sink();
	}
	MemoryContextSwitchTo(old_context);

	attempt_count++;
	if (answer == OUTBOX_SINK_ACCEPTED)
		return attempt_count < ROUND_EVENTS;
	/* what comes behind one that was not sent must wait */
	stopped = true;
	return false;
}

/* Finds blocks that are due. (A scan cannot go on across transactions.) */
static int
find_due(OutboxBlockEntry **due)
{
	HASH_SEQ_STATUS scan;
	OutboxBlockEntry *entry;
	TimestampTz now = GetCurrentTimestamp();
	int count = 0;

	outbox_blocks_scan(&scan);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		entry->failed = false;
		if (!entry->open && entry->block.next_attempt > now)
			continue;
		due[count++] = entry;
		if (count == ROUND_BLOCKS)
		{
			hash_seq_term(&scan);
			break;
		}
	}
	return count;
}

/* Begins a round with what is due. Returns BUSY if the tables are locked. */
static OutboxStoreStatus
begin_round(void)
{
	OutboxBlockEntry *due[ROUND_BLOCKS];
	int count = find_due(due);
	OutboxStoreStatus status = OUTBOX_STORE_OK;

	MemoryContextReset(round_context);
	first_tag += attempt_count;
	attempts_made = MemoryContextAllocZero(
		round_context, ROUND_EVENTS * sizeof(OutboxAttempt));
	attempt_count = 0;
	unanswered = 0;
	answered_at = GetCurrentTimestamp();
	next_due = 0;
	for (int i = 0; i < count && status == OUTBOX_STORE_OK &&
					attempt_count < ROUND_EVENTS;
		 i++)
	{
		int limit = ROUND_EVENTS - attempt_count;
		uint64 rows;

		stopped = false;
		if (!due[i]->open && due[i]->block.scope != OUTBOX_BLOCK_EVENT)
			limit = 1;
		status = outbox_parked_read(relay, &due[i]->block, limit, send, due[i],
									&rows);
		if (status != OUTBOX_STORE_OK || rows > 0 || stopped)
			continue;
		if (due[i]->block.scope == OUTBOX_BLOCK_KEY && due[i]->open)
			outbox_blocks_remove(due[i]);
		else
			outbox_blocks_reload();
	}
	if (attempt_count == 0)
		attempts_made = NULL;
	return status;
}

/* Takes in what the sink has to tell. Returns whether there was anything. */
static bool
poll(void)
{
	OutboxSinkEvent event;
	bool any = false;

	while (sink != NULL && api->poll(sink, &event))
	{
		OutboxAttempt *attempt = NULL;

		any = true;
		if (attempts_made != NULL && event.tag >= first_tag &&
			event.tag < first_tag + attempt_count)
			attempt = &attempts_made[event.tag - first_tag];

		switch (event.type)
		{
			case OUTBOX_SINK_DELIVERED:
			case OUTBOX_SINK_PURGED:
			case OUTBOX_SINK_FAILED:
				if (attempt == NULL || attempt->state != OUTBOX_ATTEMPT_SENT)
					break;
				unanswered--;
				answered_at = GetCurrentTimestamp();
				/* nothing behind it must be sent by this sink */
				if (event.type == OUTBOX_SINK_FAILED)
					end_sink();
				attempt->state = event.type == OUTBOX_SINK_DELIVERED
									 ? OUTBOX_ATTEMPT_DELIVERED
								 : event.type == OUTBOX_SINK_PURGED
									 ? OUTBOX_ATTEMPT_RETURNED
									 : OUTBOX_ATTEMPT_FAILED;
				attempt->failure = event.failure;
				if (event.type == OUTBOX_SINK_FAILED)
					attempt->error =
						MemoryContextStrdup(round_context, event.message);
				break;
			case OUTBOX_SINK_FATAL:
				end_sink();
				break;
			case OUTBOX_SINK_LOST:
			case OUTBOX_SINK_UNREACHABLE:
				break; /* the stream's sink tells the same */
			case OUTBOX_SINK_LOG:
				outbox_liblog(event.log_level, event.message);
				break;
		}
	}
	return any;
}

/* All answers are here: writes down what became of the events. */
static OutboxStoreStatus
end_round(uint64 position)
{
	MemoryContext old_context = MemoryContextSwitchTo(round_context);
	OutboxStoreStatus status = outbox_attempt_note_deliveries(
		db, relay, attempts_made, attempt_count, position);

	if (status == OUTBOX_STORE_OK)
		status = outbox_attempt_note_failures(db, relay, attempts_made,
											  attempt_count);
	MemoryContextSwitchTo(old_context);
	if (status == OUTBOX_STORE_OK)
	{
		attempts_made = NULL;
		next_due = 0;
	}
	return status;
}

/*
 * No answer has come for a while: asks the brokers about the topic of the
 * first event that has none. librdkafka says nothing about a topic that we are
 * not allowed to see. If it is at fault, all others are asked back.
 */
static void
check_topic(void)
{
	OutboxAttempt *attempt = attempts_made;
	char error[OUTBOX_SINK_ERROR_MAX];

	while (attempt->state != OUTBOX_ATTEMPT_SENT)
		attempt++;
	answered_at = GetCurrentTimestamp();
	if (!api->check_topic(sink, attempt->topic, CHECK_TOPIC_MS,
						  &attempt->failure, error) ||
		attempt->failure != OUTBOX_FAILURE_TOPIC)
		return;
	attempt->state = OUTBOX_ATTEMPT_FAILED;
	attempt->error = MemoryContextStrdup(round_context, error);
	unanswered--;
	end_sink();
}

/*
 * Are there answers to be waited for? Not for ever, if the sink has ended; and
 * if the stream waits until the blocks can be read again, it has to.
 */
static bool
is_waiting(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (unanswered == 0)
		return false;
	if (sink_ended)
		return !TimestampDifferenceExceeds(ended_at, now, ANSWERS_MS);
	if (!TimestampDifferenceExceeds(answered_at, now, STUCK_MS))
		return true;
	if (outbox_blocks_is_loaded())
		check_topic();
	else
		end_sink();
	return true;
}

static OutboxStoreStatus
step(const OutboxSinkConfig *config, uint64 position, bool *progress)
{
	OutboxSinkConfig alone = *config;
	char error[OUTBOX_SINK_ERROR_MAX];
	OutboxStoreStatus status;

	if (attempts_made != NULL)
	{
		if (is_waiting())
			return OUTBOX_STORE_OK;
		*progress = true;
		status = end_round(position);
		if (status != OUTBOX_STORE_OK)
			return status;
		if (sink_ended)
		{
			outbox_retry_close();
			not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 AFTER_REFUSAL_MS);
		}
	}
	if (!outbox_blocks_is_loaded())
	{
		*progress = true;
		next_due = 0;
		return outbox_blocks_load();
	}
	if (!outbox_blocks_any() || outbox_retry_timeout_ms() != 0)
		return OUTBOX_STORE_OK;

	if (sink == NULL)
	{
		alone.batch_bytes = 1;
		sink = api->open(&alone, error);
		if (sink == NULL)
			ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
							errmsg("could not open a second Kafka "
								   "producer: %s",
								   error)));
	}
	*progress = true;
	return begin_round();
}

/*
 * Goes on with what is parked; does not wait. progress becomes true if there
 * was anything to do. position is the stream's.
 */
OutboxStoreStatus
outbox_retry_run(const OutboxSinkConfig *config, uint64 position,
				 bool *progress)
{
	OutboxStoreStatus status;

	if (poll())
		*progress = true;
	if (GetCurrentTimestamp() < not_before)
		return OUTBOX_STORE_OK;
	status = step(config, position, progress);
	if (status == OUTBOX_STORE_BUSY)
		not_before =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_RETRY_MS);
	return status;
}

/* When the next block is due */
static TimestampTz
find_next_due(void)
{
	HASH_SEQ_STATUS scan;
	OutboxBlockEntry *entry;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;

	outbox_blocks_scan(&scan);
	while ((entry = hash_seq_search(&scan)) != NULL)
		next = Min(next, entry->open ? now : entry->block.next_attempt);
	return next;
}

/* How long there is nothing to do but to take in answers; -1 = for ever */
long
outbox_retry_timeout_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;

	if (attempts_made != NULL)
		return STUCK_MS;
	if (!outbox_blocks_any())
		return -1;
	if (next_due == 0)
		next_due = find_next_due();
	next = Max(next_due, not_before);
	return (next <= now) ? 0 : TimestampDifferenceMilliseconds(now, next);
}

/*
 * Waits until the round under way has its answers, but not longer than that,
 * and writes them down, so that nothing is repeated.
 */
void
outbox_retry_drain(uint64 position, long grace_ms)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), grace_ms);

	while (attempts_made != NULL)
	{
		long left;

		poll();
		if (unanswered == 0)
		{
			(void) end_round(position);
			return;
		}
		left =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left <= 0)
			return;
		outbox_wait_answers(Min(left, 100), OUTBOX_WAIT_RELAY_DRAIN);
	}
}

/* Closes the sink. What has no answer stays parked. */
void
outbox_retry_close(void)
{
	OutboxSink *old = sink;

	sink = NULL;
	sink_ended = false;
	attempts_made = NULL;
	unanswered = 0;
	if (old != NULL)
		api->close(old);
}
