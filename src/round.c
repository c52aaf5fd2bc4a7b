/*-------------------------------------------------------------------------
 *
 * round.c
 *	  One round of attempts to publish parked events: they are handed to a
 *	  sink, it is waited, without holding anything up, until each has its
 *	  answer, and it is written down what became of them.
 *
 * There is a sink for each kind of round, so that none must be opened anew
 * each time the kind changes. A sink stops at the first event that fails, so
 * that none of the same key overtakes it; it is closed at the end of the
 * round, and the next round has another one.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "expired.h"
#include "liblog.h"
#include "life.h"
#include "parked_held.h"
#include "record.h"
#include "round.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define ROUND_EVENTS   2000

/* what part of outbox.window_size the events of a round may take; one may
 * always be on its way */
#define ROUND_SHARE    4

/* after so long without an answer, the oldest event's topic is looked at */
#define STUCK_MS       4000

#define ANSWERS_MS     10000 /* of a sink that has ended */
#define PURGE_EVERY_MS 100   /* meanwhile; see settle.c */

static OutboxDatabase *db;
static const char *relay;
static const OutboxSinkApi *api;
static OutboxSink *sinks[OUTBOX_ROUND_KINDS];
static OutboxRoundKind kind; /* of the round under way */
static bool sink_ended = false;
static TimestampTz ended_at = 0;
static TimestampTz purged_at = 0;
static MemoryContext round_context = NULL;
static OutboxAttempt *attempts_made = NULL; /* NULL = no round under way */
static int attempt_count = 0;
static int attempt_limit = 0;
static int64 bytes_left = 0; /* of memory for the events of the round */
static int unanswered = 0;
static uint64 first_tag = 0;        /* tag of attempts_made[0] */
static TimestampTz answered_at = 0; /* the last answer of this round */

/* Called once, when the relay has attached. */
void
outbox_round_init(OutboxDatabase *database, const char *relay_name,
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
outbox_round_begin(OutboxRoundKind round_kind, const OutboxSinkConfig *config)
{
	OutboxSinkConfig mine = *config;
	char error[OUTBOX_SINK_ERROR_MAX];

	kind = round_kind;
	mine.batch_bytes = (kind == OUTBOX_ROUND_ALONE) ? 1 : 0;
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
	attempt_limit = outbox_life_is_careful()
						? 1
						: Min(ROUND_EVENTS, config->window_events);
	attempt_limit =
		Min(attempt_limit, outbox_held_room(OUTBOX_HELD_DELIVERED));
	bytes_left = (int64) config->window_size_kb * 1024 / ROUND_SHARE;
	unanswered = 0;
	sink_ended = false;
	answered_at = GetCurrentTimestamp();
}

/* How many more events the round takes; none after one was not accepted */
int
outbox_round_room(void)
{
	if (attempt_count > 0 &&
		attempts_made[attempt_count - 1].state != OUTBOX_ATTEMPT_SENT)
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
	if (record->bytes > bytes_left && unanswered > 0)
		return OUTBOX_SINK_FULL;
	bytes_left -= record->bytes;
	outbox_life_note(OUTBOX_LANE_PARKED, event->id);
	return api->publish(sinks[kind], record, failure, error);
}

/*
 * Hands a parked event to the sink, as there is room. Returns false if it was
 * not accepted: then what comes behind it must wait, too.
 */
bool
outbox_round_send(const OutboxEvent *event, OutboxBlockEntry *entry)
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
			unanswered++;
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
outbox_round_is_under_way(void)
{
	return attempts_made != NULL;
}

bool
outbox_round_is_empty(void)
{
	return attempt_count == 0;
}

bool
outbox_round_is_answered(void)
{
	return unanswered == 0;
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

	unanswered--;
	answered_at = GetCurrentTimestamp();
	if (event->type == OUTBOX_SINK_DELIVERED)
		attempt->state = OUTBOX_ATTEMPT_DELIVERED;
	else if (event->type == OUTBOX_SINK_PURGED)
		attempt->state = OUTBOX_ATTEMPT_RETURNED;
	else
	{
		attempt->state = OUTBOX_ATTEMPT_FAILED;
		attempt->failure = event->failure;
		attempt->error = MemoryContextStrdup(round_context, event->message);
		/* nothing behind it must be sent by this sink */
		end_sink();
	}
}

static OutboxAttempt *
first_unanswered(void)
{
	OutboxAttempt *attempt = attempts_made;

	while (attempt->state != OUTBOX_ATTEMPT_SENT)
		attempt++;
	return attempt;
}

/* What brokers say about a topic. If it is at fault, and the first event that
 * has no answer is one of it, all others are asked back. */
static void
take_topic(const OutboxSinkEvent *event)
{
	OutboxAttempt *attempt;

	if (attempts_made == NULL || unanswered == 0 || sink_ended ||
		event->state != OUTBOX_TOPIC_FAULTY ||
		event->failure != OUTBOX_FAILURE_TOPIC)
		return;
	attempt = first_unanswered();
	if (strcmp(attempt->topic, event->topic) != 0)
		return;
	attempt->state = OUTBOX_ATTEMPT_FAILED;
	attempt->failure = event->failure;
	attempt->error = MemoryContextStrdup(round_context, event->message);
	unanswered--;
	end_sink();
}

/* Takes in what the sinks have to tell. Returns whether there was anything. */
bool
outbox_round_poll(void)
{
	OutboxSinkEvent event;
	bool any = false;

	for (int i = 0; i < OUTBOX_ROUND_KINDS; i++)
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
					if (i == (int) kind)
						take_topic(&event);
					break;
				case OUTBOX_SINK_LOST:
				case OUTBOX_SINK_UNREACHABLE:
					break; /* the stream's sink tells the same */
				case OUTBOX_SINK_LOG:
					outbox_liblog(event.log_level, event.message);
					break;
			}
		}
	}
	return any;
}

/*
 * No answer has come for a while: asks the brokers about the topic of the
 * first event that has none. librdkafka says nothing about a topic that we are
 * not allowed to see.
 */
static void
ask_topic(void)
{
	answered_at = GetCurrentTimestamp();
	api->ask_topic(sinks[kind], first_unanswered()->topic);
}

/*
 * Are there answers to be waited for? Not for ever, if the sink has ended; and
 * if the stream waits until the blocks can be read again, it has to.
 */
bool
outbox_round_is_waiting(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (unanswered == 0)
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
	if (!TimestampDifferenceExceeds(answered_at, now, STUCK_MS))
		return true;
	if (outbox_blocks_is_loaded() && outbox_expired_next() > now)
		ask_topic();
	else
		end_sink();
	return true;
}

/* How long there is nothing to do but to take in answers */
long
outbox_round_timeout_ms(void)
{
	/* after an error, or locked tables, it is to be ended soon */
	return sink_ended || unanswered == 0 ? PURGE_EVERY_MS : STUCK_MS;
}

static void
close_sink(OutboxRoundKind which)
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
outbox_round_end(uint64 position, bool *ended)
{
	MemoryContext old_context = MemoryContextSwitchTo(round_context);
	OutboxStoreStatus status = outbox_attempt_note_deliveries(
		db, relay, attempts_made, attempt_count, position);

	if (status == OUTBOX_STORE_OK && kind == OUTBOX_ROUND_TOGETHER)
		outbox_attempt_suspect(attempts_made, attempt_count);
	if (status == OUTBOX_STORE_OK)
		status = outbox_attempt_note_failures(db, relay, attempts_made,
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
outbox_round_close(void)
{
	attempts_made = NULL;
	unanswered = 0;
	for (int i = 0; i < OUTBOX_ROUND_KINDS; i++)
		close_sink(i);
}
