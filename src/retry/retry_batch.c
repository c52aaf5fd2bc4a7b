/*-------------------------------------------------------------------------
 *
 * retry_batch.c
 *	  One round of attempts to publish parked events: they are handed to a
 *	  sink, it is waited, without holding anything up, until each has its
 *	  answer, and it is written down what became of them.
 *
 * There is a sink for each kind of round, so that none must be opened anew
 * each time the kind changes. One for full batches stops at the first event
 * that is refused, so that none of the same key overtakes it; it is closed at
 * the end of the round, and the next round has another one. Where each event
 * is alone in its batch, a round has at most one of a key, and goes on.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "format/record.h"
#include "poison/crash_note.h"
#include "retry/expiry.h"
#include "retry/retry_batch.h"
#include "sink/client_log.h"
#include "store/parked_held.h"

#define ROUND_EVENTS   2000

/* what part of outbox.window_size the events of a round may take; one may
 * always be on its way */
#define ROUND_SHARE    4

/* after so long without an answer, topics are asked about */
#define STUCK_MS       4000
/* after so long, an event is taken back though nothing seems to be wrong */
#define SILENT_MS      8000

#define ANSWERS_MS     10000 /* of a sink that has ended */
#define PURGE_EVERY_MS 100   /* meanwhile; see recovery.c */

static OutboxDatabase *db;
static const char *relay;
static const OutboxSinkApi *api;
static OutboxSink *sinks[OUTBOX_RETRY_BATCH_KINDS];
static OutboxRetryBatchKind kind; /* of the round under way */
static bool sink_ended = false;
static TimestampTz ended_at = 0;
static TimestampTz purged_at = 0;
static MemoryContext round_context = NULL;
static OutboxAttempt *attempts_made = NULL; /* NULL = no round under way */
static int attempt_count = 0;
static int attempt_limit = 0;
static int64 bytes_left = 0; /* of memory for the events of the round */
static int in_flight = 0;
static uint64 first_tag = 0; /* tag of attempts_made[0] */
static uint32 rounds = 0;
static TimestampTz began_at = 0;
static TimestampTz last_result_at = 0; /* the last answer of this round */
static TimestampTz asked_at = 0;       /* about topics */

/* Called once, when the relay has attached. */
void
outbox_retry_batch_init(OutboxDatabase *database, const char *relay_name,
						const OutboxSinkApi *sink_api)
{
	db = database;
	relay = relay_name;
	api = sink_api;
	round_context = AllocSetContextCreate(TopMemoryContext, "outbox retry",
										  ALLOCSET_DEFAULT_SIZES);
}

/* Begins a round, which is over at once if nothing is sent. */
void
outbox_retry_batch_begin(OutboxRetryBatchKind round_kind,
						 const OutboxSinkConfig *config)
{
	OutboxSinkConfig mine = *config;
	char error[OUTBOX_SINK_ERROR_MAX];

	kind = round_kind;
	rounds++;
	mine.batch_bytes = (kind == OUTBOX_RETRY_BATCH_ALONE) ? 1 : 0;
	mine.keys_once = (kind == OUTBOX_RETRY_BATCH_ALONE);
	if (sinks[kind] == NULL)
		sinks[kind] = api->open(&mine, error);
	if (sinks[kind] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not open another Kafka producer: %s", error)));

	MemoryContextReset(round_context);
	first_tag += attempt_count;
	attempts_made = MemoryContextAllocZero(
		round_context, ROUND_EVENTS * sizeof(OutboxAttempt));
	attempt_count = 0;
	attempt_limit = outbox_crash_note_is_careful()
						? 1
						: Min(ROUND_EVENTS, config->window_events);
	attempt_limit =
		Min(attempt_limit, outbox_held_room(OUTBOX_HELD_DELIVERED));
	bytes_left = (int64) config->window_size_kb * 1024 / ROUND_SHARE;
	in_flight = 0;
	sink_ended = false;
	began_at = last_result_at = asked_at = GetCurrentTimestamp();
}

/* How many more events the round takes; none after one was not accepted,
 * unless there is no other of its key */
int
outbox_retry_batch_room(void)
{
	OutboxAttemptState state = OUTBOX_ATTEMPT_SENT;

	if (attempt_count > 0)
		state = attempts_made[attempt_count - 1].state;
	if (state != OUTBOX_ATTEMPT_SENT &&
		(state != OUTBOX_ATTEMPT_FAILED || kind != OUTBOX_RETRY_BATCH_ALONE))
		return 0;
	return attempt_limit - attempt_count;
}

/* Nothing more must be sent by this sink: asks back what it has not sent. */
static void
end_sink(void)
{
	if (sink_ended)
		return;
	sink_ended = true;
	ended_at = purged_at = GetCurrentTimestamp();
	api->purge(sinks[kind]);
}

/* Events that must not be sent are refused here, others by the sink. */
static OutboxSinkAnswer
send(OutboxRecord *record, const OutboxEvent *event, OutboxFailure *failure,
	 char *error)
{
	if (!outbox_record_from_event(record, event, error))
	{
		*failure = OUTBOX_FAILURE_INVALID;
		return OUTBOX_SINK_REFUSED;
	}
	if (record->bytes > bytes_left && in_flight > 0)
		return OUTBOX_SINK_FULL;
	bytes_left -= record->bytes;
	outbox_crash_note_note(OUTBOX_LANE_PARKED, event->id);
	return api->publish(sinks[kind], record, failure, error);
}

/*
 * Hands a parked event to the sink, as there is room. Returns false if it was
 * not accepted: then what comes behind it must wait, too.
 */
bool
outbox_retry_batch_send(const OutboxEvent *event, OutboxBlockedKey *entry)
{
	OutboxAttempt *attempt = &attempts_made[attempt_count];
	OutboxRecord record;
	OutboxSinkAnswer answer;
	char error[OUTBOX_SINK_ERROR_MAX];

	record.tag = first_tag + attempt_count++;
	attempt->id = event->id;
	attempt->entry = entry;
	attempt->attempts = event->attempts;
	answer = send(&record, event, &attempt->failure, error);
	attempt->topic = MemoryContextStrdup(round_context, record.topic);
	switch (answer)
	{
		case OUTBOX_SINK_ACCEPTED:
			attempt->state = OUTBOX_ATTEMPT_SENT;
			in_flight++;
			break;
		case OUTBOX_SINK_REFUSED:
			attempt->state = OUTBOX_ATTEMPT_FAILED;
			attempt->error = MemoryContextStrdup(round_context, error);
			break;
		case OUTBOX_SINK_ENDED:
			attempt->state = OUTBOX_ATTEMPT_RETURNED;
			end_sink();
			break;
		case OUTBOX_SINK_FULL:
			attempt->state = OUTBOX_ATTEMPT_RETURNED;
			break;
	}
	return attempt->state == OUTBOX_ATTEMPT_SENT;
}

bool
outbox_retry_batch_is_under_way(void)
{
	return attempts_made != NULL;
}

bool
outbox_retry_batch_is_empty(void)
{
	return attempt_count == 0;
}

bool
outbox_retry_batch_is_answered(void)
{
	return in_flight == 0;
}

/* The fate of one event */
static void
take_answer(const OutboxSinkEvent *event)
{
	OutboxAttempt *attempt;

	if (attempts_made == NULL || event->tag < first_tag ||
		event->tag >= first_tag + attempt_count)
		return;
	attempt = &attempts_made[event->tag - first_tag];
	if (attempt->state != OUTBOX_ATTEMPT_SENT)
		return;

	in_flight--;
	last_result_at = GetCurrentTimestamp();
	if (event->type == OUTBOX_SINK_DELIVERED)
		attempt->state = OUTBOX_ATTEMPT_DELIVERED;
	else if (event->type == OUTBOX_SINK_PURGED)
		attempt->state = attempt->error != NULL ? OUTBOX_ATTEMPT_FAILED
												: OUTBOX_ATTEMPT_RETURNED;
	else
	{
		attempt->state = OUTBOX_ATTEMPT_FAILED;
		attempt->failure = event->failure;
		attempt->error = MemoryContextStrdup(round_context, event->message);
		attempt->uncounted = false;
		/* what is behind it, of its key or topic, must not be sent by this
		 * sink: nothing of that key is, or the sink gives the topic back */
		if (kind != OUTBOX_RETRY_BATCH_ALONE &&
			event->failure != OUTBOX_FAILURE_TOPIC)
			end_sink();
	}
}

/* Has the round taken too long? */
static bool
is_silent(void)
{
	return TimestampDifferenceExceeds(began_at, GetCurrentTimestamp(),
									  SILENT_MS);
}

/* Takes in what the sinks have to tell. Returns whether there was anything. */
bool
outbox_retry_batch_poll(void)
{
	OutboxSinkEvent event;
	bool any = false;

	for (int i = 0; i < OUTBOX_RETRY_BATCH_KINDS; i++)
	{
		while (sinks[i] != NULL && api->poll(sinks[i], &event))
		{
			any = true;
			switch (event.type)
			{
				case OUTBOX_SINK_DELIVERED:
				case OUTBOX_SINK_PURGED:
				case OUTBOX_SINK_FAILED:
					take_answer(&event);
					break;
				case OUTBOX_SINK_FATAL:
					if (attempts_made != NULL && i == (int) kind)
						end_sink();
					break;
				case OUTBOX_SINK_TOPIC:
					if (attempts_made != NULL && i == (int) kind)
						outbox_retry_outcome_blame(
							attempts_made, attempt_count, &event, is_silent());
					break;
				case OUTBOX_SINK_LOST:
				case OUTBOX_SINK_UNREACHABLE:
					break; /* the stream's sink tells the same */
				case OUTBOX_SINK_LOG:
					outbox_client_log(event.log_level, event.message);
					break;
			}
		}
	}
	return any;
}

/*
 * Asks the brokers about the topics of events that have no answer, or of those
 * of blocked topics.
 */
static void
ask_topics(bool blocked)
{
	const char *last = "";

	asked_at = GetCurrentTimestamp();
	for (int i = 0; i < attempt_count; i++)
	{
		OutboxAttempt *attempt = &attempts_made[i];

		if (attempt->state != OUTBOX_ATTEMPT_SENT ||
			(blocked && attempt->entry->block.scope != OUTBOX_BLOCK_TOPIC) ||
			strcmp(attempt->topic, last) == 0)
			continue;
		last = attempt->topic;
		api->ask_topic(sinks[kind], last);
	}
}

/*
 * All events of the round have been handed over. Of a topic that is blocked,
 * there may be no answer to them, or a late one.
 */
void
outbox_retry_batch_sent(void)
{
	if (kind == OUTBOX_RETRY_BATCH_ALONE)
		ask_topics(true);
}

/*
 * Are there answers to be waited for? Not for ever, if the sink has ended; and
 * if the stream waits until the blocks can be read again, it has to.
 */
bool
outbox_retry_batch_is_waiting(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (in_flight == 0)
		return false;
	if (sink_ended)
	{
		if (TimestampDifferenceExceeds(ended_at, now, ANSWERS_MS))
			return false;
		if (TimestampDifferenceExceeds(purged_at, now, PURGE_EVERY_MS))
		{
			purged_at = now;
			api->purge(sinks[kind]);
		}
		return true;
	}
	/* only so can they be taken back, and not while others are under way */
	if (outbox_retry_outcome_all_blamed(attempts_made, attempt_count))
		end_sink();
	if (!TimestampDifferenceExceeds(Max(last_result_at, asked_at), now,
									STUCK_MS))
		return true;
	if (outbox_blocked_keys_is_loaded() && outbox_expiry_next() > now)
		ask_topics(false);
	else
		end_sink();
	return true;
}

/* How long there is nothing to do but to take in answers */
long
outbox_retry_batch_timeout_ms(void)
{
	/* after an error, or locked tables, it is to be ended soon */
	return sink_ended || in_flight == 0 ? PURGE_EVERY_MS : STUCK_MS;
}

static void
close_sink(OutboxRetryBatchKind which)
{
	OutboxSink *old = sinks[which];

	sinks[which] = NULL;
	if (old != NULL)
		api->close(old);
}

/*
 * All answers are here: writes down what became of the events. After an error
 * of the store the round is still under way, and goes on from there.
 */
OutboxStoreStatus
outbox_retry_batch_end(uint64 position, bool *ended)
{
	MemoryContext old_context = MemoryContextSwitchTo(round_context);
	OutboxStoreStatus status;

	/* answers that have not come in time */
	for (int i = 0; i < attempt_count; i++)
	{
		if (attempts_made[i].state == OUTBOX_ATTEMPT_SENT &&
			attempts_made[i].error != NULL)
			attempts_made[i].state = OUTBOX_ATTEMPT_FAILED;
	}
	outbox_retry_outcome_judge(attempts_made, attempt_count, rounds,
							   kind == OUTBOX_RETRY_BATCH_ALONE);
	status = outbox_retry_outcome_note_deliveries(db, relay, attempts_made,
												  attempt_count, position);

	if (status == OUTBOX_STORE_OK && kind == OUTBOX_RETRY_BATCH_TOGETHER)
		outbox_retry_outcome_suspect(attempts_made, attempt_count);
	if (status == OUTBOX_STORE_OK)
		status = outbox_retry_outcome_note_failures(db, relay, attempts_made,
													attempt_count);
	MemoryContextSwitchTo(old_context);
	*ended = false;
	if (status != OUTBOX_STORE_OK)
		return status;
	attempts_made = NULL;
	*ended = sink_ended;
	if (sink_ended)
		close_sink(kind);
	return OUTBOX_STORE_OK;
}

/* Closes the sinks. What has no answer stays parked. */
void
outbox_retry_batch_close(void)
{
	attempts_made = NULL;
	in_flight = 0;
	for (int i = 0; i < OUTBOX_RETRY_BATCH_KINDS; i++)
		close_sink(i);
}
