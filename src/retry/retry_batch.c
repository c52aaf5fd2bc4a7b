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
#include "shared/event_log.h"
#include "shared/policy.h"
#include "store/parked_held.h"

#define ROUND_EVENTS 2000

/* what part of outbox.window_size the events of a round may take; one may
 * always be on its way */
#define ROUND_SHARE  4

/* how soon a round that has its answers is ended, if that was not possible */
#define END_RETRY_MS 100

StaticAssertDecl(ROUND_EVENTS <= OUTBOX_SENDER_BATCH_MAX, "see sender.h");

static OutboxSender senders[OUTBOX_RETRY_BATCH_KINDS];
static OutboxRetryBatchKind kind;      /* of the round under way */
static OutboxSender *sender = senders; /* of that kind */
static MemoryContext round_context = NULL;
static OutboxAttempt *attempts_made = NULL; /* NULL = no round under way */
static int attempt_count = 0;
static int attempt_limit = 0;
static int64 bytes_left = 0; /* of memory for the events of the round */
static uint32 rounds = 0;
static TimestampTz began_at = 0;
static TimestampTz last_result_at = 0; /* the last answer of this round */
static TimestampTz asked_at = 0;       /* about topics */

/* Called once, when the relay has attached. */
void
outbox_retry_batch_init(const OutboxSinkApi *sink_api)
{
	for (int i = 0; i < OUTBOX_RETRY_BATCH_KINDS; i++)
		outbox_sender_init(&senders[i], sink_api, "parked events");
	round_context = AllocSetContextCreate(TopMemoryContext, "outbox retry",
										  ALLOCSET_DEFAULT_SIZES);
}

/* Begins a round, which is over at once if nothing is sent. */
void
outbox_retry_batch_begin(OutboxRetryBatchKind round_kind,
						 const OutboxSinkConfig *config)
{
	OutboxSinkConfig mine = *config;

	kind = round_kind;
	sender = &senders[kind];
	rounds++;
	mine.batch_bytes = (kind == OUTBOX_RETRY_BATCH_ALONE) ? 1 : 0;
	mine.keys_once = (kind == OUTBOX_RETRY_BATCH_ALONE);
	outbox_sender_begin_batch(sender, &mine);

	MemoryContextReset(round_context);
	attempts_made = MemoryContextAllocZero(
		round_context, ROUND_EVENTS * sizeof(OutboxAttempt));
	attempt_count = 0;
	attempt_limit = outbox_crash_note_is_careful()
						? 1
						: Min(ROUND_EVENTS, config->window_events);
	attempt_limit =
		Min(attempt_limit, outbox_held_room(OUTBOX_HELD_DELIVERED));
	bytes_left = (int64) config->window_size_kb * 1024 / ROUND_SHARE;
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

/* Events that must not be sent are refused here, others by the sink. */
static OutboxSinkAnswer
send(OutboxAttempt *attempt, OutboxRecord *record, const OutboxEvent *event,
	 char *error)
{
	bool fine = outbox_record_from_event(record, event,
										 &outbox_policy.envelope, error);

	attempt->topic = MemoryContextStrdup(round_context, record->topic);
	attempt->name =
		MemoryContextStrdup(round_context, outbox_event_log_name(event));
	attempt->emitted_at = event->emitted_at;
	attempt->sent_at = GetCurrentTimestamp();
	if (!fine)
	{
		attempt->failure = OUTBOX_FAILURE_INVALID;
		return OUTBOX_SINK_REFUSED;
	}
	if (record->bytes > bytes_left && sender->in_flight > 0)
		return OUTBOX_SINK_FULL;
	bytes_left -= record->bytes;
	attempt->size = outbox_record_size(record);
	outbox_crash_note_note(OUTBOX_LANE_PARKED, event->id);
	attempt->state = OUTBOX_ATTEMPT_SENT;
	return outbox_sender_hand_over(sender, record, &attempt->failure, error);
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
	char error[OUTBOX_SINK_ERROR_MAX];

	record.tag = sender->first_tag + attempt_count++;
	attempt->id = event->id;
	attempt->entry = entry;
	attempt->attempts = event->attempts;
	attempt->state = OUTBOX_ATTEMPT_RETURNED;
	switch (send(attempt, &record, event, error))
	{
		case OUTBOX_SINK_ACCEPTED:
			break;
		case OUTBOX_SINK_REFUSED:
			attempt->state = OUTBOX_ATTEMPT_FAILED;
			attempt->error = MemoryContextStrdup(round_context, error);
			break;
		case OUTBOX_SINK_ENDED:
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
	return sender->in_flight == 0;
}

/* The fate of one event */
static void
take_answer(const OutboxSinkEvent *event)
{
	OutboxAttempt *attempt = &attempts_made[event->tag - sender->first_tag];

	last_result_at = GetCurrentTimestamp();
	attempt->sent_us = last_result_at - attempt->sent_at;
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
			outbox_sender_end(sender);
	}
}

/* Has the round taken too long? */
static bool
is_silent(void)
{
	return TimestampDifferenceExceeds(began_at, GetCurrentTimestamp(),
									  OUTBOX_SENDER_SILENT_MS);
}

/* Takes in what the sinks have to tell. Returns whether there was anything. */
bool
outbox_retry_batch_poll(void)
{
	OutboxSinkEvent event;
	bool any = false;

	for (int i = 0; i < OUTBOX_RETRY_BATCH_KINDS; i++)
	{
		while (outbox_sender_poll(&senders[i], &event))
		{
			any = true;
			switch (event.type)
			{
				case OUTBOX_SINK_DELIVERED:
				case OUTBOX_SINK_PURGED:
				case OUTBOX_SINK_FAILED:
					take_answer(&event);
					break;
				case OUTBOX_SINK_TOPIC:
					if (attempts_made != NULL && &senders[i] == sender)
						outbox_retry_outcome_blame(
							attempts_made, attempt_count, &event, is_silent());
					break;
				case OUTBOX_SINK_LOST:
				case OUTBOX_SINK_UNREACHABLE:
					break; /* the stream's sink tells the same */
				case OUTBOX_SINK_FATAL:
				case OUTBOX_SINK_LOG:
					break; /* sender.c has seen to it */
				case OUTBOX_SINK_STATISTICS:
					break; /* the stream's are enough */
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
		outbox_sender_ask_topic(sender, last);
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
 * Are there answers to be waited for? Not forever, if the sink has ended; and
 * if the stream waits until the blocks can be read again, it has to.
 */
bool
outbox_retry_batch_is_waiting(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (sender->state == OUTBOX_SENDER_ENDING)
		return !outbox_sender_take_back(sender, OUTBOX_SENDER_ENDING_MS);
	if (sender->in_flight == 0)
		return false;
	/* only so can they be taken back, and not while others are under way */
	if (outbox_retry_outcome_all_blamed(attempts_made, attempt_count))
		outbox_sender_end(sender);
	if (!TimestampDifferenceExceeds(Max(last_result_at, asked_at), now,
									OUTBOX_SENDER_STUCK_MS))
		return true;
	if (outbox_blocked_keys_is_loaded() && outbox_expiry_next() > now)
		ask_topics(false);
	else
		outbox_sender_end(sender);
	return true;
}

/* How long there is nothing to do but to take in answers */
long
outbox_retry_batch_timeout_ms(void)
{
	if (sender->in_flight == 0)
		return END_RETRY_MS;
	return sender->state == OUTBOX_SENDER_ENDING
			   ? outbox_sender_timeout_ms(sender)
			   : OUTBOX_SENDER_STUCK_MS;
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
	status = outbox_retry_outcome_note_deliveries(attempts_made, attempt_count,
												  position);

	if (status == OUTBOX_STORE_OK && kind == OUTBOX_RETRY_BATCH_TOGETHER)
		outbox_retry_outcome_suspect(attempts_made, attempt_count);
	if (status == OUTBOX_STORE_OK)
		status =
			outbox_retry_outcome_note_failures(attempts_made, attempt_count);
	MemoryContextSwitchTo(old_context);
	*ended = false;
	if (status != OUTBOX_STORE_OK)
		return status;
	attempts_made = NULL;
	*ended = (sender->state == OUTBOX_SENDER_ENDING);
	if (*ended)
		outbox_sender_close(sender);
	return OUTBOX_STORE_OK;
}

/* Closes the sinks. What has no answer stays parked. */
void
outbox_retry_batch_close(void)
{
	attempts_made = NULL;
	for (int i = 0; i < OUTBOX_RETRY_BATCH_KINDS; i++)
		outbox_sender_close(&senders[i]);
}
