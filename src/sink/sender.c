/*-------------------------------------------------------------------------
 *
 * sender.c
 *	  The life of a sink, from its opening to its end, for all who send events
 *	  through one: the stream, parked events, copies of dead letters. Who the
 *	  events are, and what becomes of one that fails, is theirs.
 *
 *	  CLOSED --open--> OPEN --end--> ENDING --close--> CLOSED
 *						 `----------close--------------^
 *
 *	  OPEN		takes events; each gets one answer, by its tag, through poll
 *	  ENDING	takes none, and is asked for all that it has not sent, again
 *				and again: a retry may come back from a broker, or a partition
 *				be on its way between two of them, just then. A sink that has
 *				failed ends by itself. Some answers may never come.
 *
 * What a sink knows ends with it: one that is ENDING does not open again, it is
 * closed, and another one opened. Events without an answer are sent again then.
 *
 * Answers are counted here. One to an event that is not in flight is an error
 * of the module's, and is raised. An error that is raised while an event is
 * handed over leaves it open whether the sink has it: the sink ends.
 *
 * Nothing here waits. Who sends within transactions of the broker would begin
 * one in outbox_sender_begin_batch(), and commit it when all are answered.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "sink/client_log.h"
#include "sink/sender.h"

/* how often a sink that ends is asked for its events */
#define PURGE_EVERY_MS 100

/* The one place where the state changes */
static void
set_state(OutboxSender *sender, OutboxSenderState state)
{
#ifdef USE_ASSERT_CHECKING
	static const uint8 next[] = {
		[OUTBOX_SENDER_CLOSED] = 1 << OUTBOX_SENDER_OPEN,
		[OUTBOX_SENDER_OPEN] =
			1 << OUTBOX_SENDER_ENDING | 1 << OUTBOX_SENDER_CLOSED,
		[OUTBOX_SENDER_ENDING] = 1 << OUTBOX_SENDER_CLOSED,
	};
#endif

	Assert(next[sender->state] & 1 << state);
	Assert((sender->sink == NULL) == (state == OUTBOX_SENDER_CLOSED));
	sender->state = state;
}

/* label: what it sends, for messages; a literal */
void
outbox_sender_init(OutboxSender *sender, const OutboxSinkApi *api,
				   const char *label)
{
	memset(sender, 0, sizeof(*sender));
	sender->api = api;
	sender->label = label;
}

/*
 * Opens a sink, when there is none. Returns false, and a message in error (of
 * OUTBOX_SINK_ERROR_MAX bytes), if that is not possible.
 */
bool
outbox_sender_try_open(OutboxSender *sender, const OutboxSinkConfig *config,
					   char *error)
{
	sender->sink = sender->api->open(config, error);
	if (sender->sink == NULL)
		return false;
	set_state(sender, OUTBOX_SENDER_OPEN);
	sender->in_flight = 0;
	sender->handing_over = false;
	sender->first_tag = sender->next_tag = 0;
	sender->given_up[0] = '\0';
	return true;
}

/* The same, but raises an error. */
void
outbox_sender_open(OutboxSender *sender, const OutboxSinkConfig *config)
{
	char error[OUTBOX_SINK_ERROR_MAX];

	if (!outbox_sender_try_open(sender, config, error))
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
						errmsg("could not open a sink for %s: %s",
							   sender->label, error)));
}

/*
 * A batch begins: its tags are counted from first_tag on, and none of an
 * earlier one is used again. Opens a sink, if there is none that takes events;
 * raises an error if that is not possible.
 */
void
outbox_sender_begin_batch(OutboxSender *sender, const OutboxSinkConfig *config)
{
	if (sender->state == OUTBOX_SENDER_ENDING)
		outbox_sender_close(sender);
	if (sender->state == OUTBOX_SENDER_CLOSED)
		outbox_sender_open(sender, config);
	Assert(sender->in_flight == 0);
	sender->first_tag = sender->next_tag;
}

/*
 * Hands an event over. Its tag is not below any that was accepted before. A
 * failure and a message in error (of OUTBOX_SINK_ERROR_MAX bytes) if it is
 * refused.
 */
OutboxSinkAnswer
outbox_sender_hand_over(OutboxSender *sender, const OutboxRecord *record,
						OutboxFailure *failure, char *error)
{
	OutboxSinkAnswer answer;

	if (sender->state != OUTBOX_SENDER_OPEN)
		return OUTBOX_SINK_ENDED;
	sender->next_tag = record->tag + 1;
	sender->in_flight++;
	sender->handing_over = true;
	answer = sender->api->publish(sender->sink, record, failure, error);
	sender->handing_over = false;
	if (answer == OUTBOX_SINK_ACCEPTED)
		return answer;
	sender->in_flight--;
	if (answer == OUTBOX_SINK_ENDED)
		outbox_sender_end(sender);
	return answer;
}

/* The module has answered for an event that it does not have. That is no fault
 * of an event's; see guard.c. */
static void
refuse_answer(const OutboxSender *sender, uint64 tag)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the sink for %s tells of an event that it does not have",
					sender->label),
			 errdetail_internal("tag %llu", (unsigned long long) tag)));
}

/* An event has its answer. */
static void
take_answer(OutboxSender *sender, const OutboxSinkEvent *event)
{
	if (event->tag < sender->first_tag || event->tag >= sender->next_tag ||
		sender->in_flight == 0)
		refuse_answer(sender, event->tag);
	sender->in_flight--;
}

/* For who finds that the event has had its answer before: raises that error,
 * as if this one had not come. */
void
outbox_sender_answered_twice(OutboxSender *sender, uint64 tag)
{
	sender->in_flight++;
	refuse_answer(sender, tag);
}

/*
 * Takes in one thing that the sink has to tell; false if there is nothing. The
 * event is valid until the next call. Lines for the log have been logged.
 */
bool
outbox_sender_poll(OutboxSender *sender, OutboxSinkEvent *event)
{
	if (sender->sink == NULL)
		return false;
	if (sender->handing_over)
	{
		/* that has raised an error */
		sender->handing_over = false;
		outbox_sender_end(sender);
	}
	if (!sender->api->poll(sender->sink, event))
		return false;
	switch (event->type)
	{
		case OUTBOX_SINK_DELIVERED:
		case OUTBOX_SINK_PURGED:
			take_answer(sender, event);
			break;
		case OUTBOX_SINK_FAILED:
			take_answer(sender, event);
			/* then that is why it has ended */
			sender->given_up[0] = '\0';
			break;
		case OUTBOX_SINK_FATAL:
			if (sender->state == OUTBOX_SENDER_OPEN)
				strlcpy(sender->given_up, event->message,
						sizeof(sender->given_up));
			outbox_sender_end(sender);
			break;
		case OUTBOX_SINK_LOG:
			outbox_client_log(event->log_level, event->message);
			break;
		case OUTBOX_SINK_TOPIC:
		case OUTBOX_SINK_LOST:
		case OUTBOX_SINK_UNREACHABLE:
			break;
	}
	return true;
}

/* Asks the brokers about a topic; see sink.h. */
void
outbox_sender_ask_topic(OutboxSender *sender, const char *topic)
{
	sender->api->ask_topic(sender->sink, topic);
}

/* Nothing more must be sent: asks back what has not been. It may be ending
 * already. */
void
outbox_sender_end(OutboxSender *sender)
{
	if (sender->state != OUTBOX_SENDER_OPEN)
		return;
	set_state(sender, OUTBOX_SENDER_ENDING);
	sender->ending_since = sender->purged_at = GetCurrentTimestamp();
	sender->api->purge(sender->sink);
}

/*
 * Goes on to ask a sink that ends for its events. True when all are back, or
 * it has been ending for so long that no more answers are expected.
 */
bool
outbox_sender_take_back(OutboxSender *sender, int patience_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	Assert(sender->state == OUTBOX_SENDER_ENDING);
	if (sender->in_flight == 0 ||
		TimestampDifferenceExceeds(sender->ending_since, now, patience_ms))
		return true;
	if (TimestampDifferenceExceeds(sender->purged_at, now, PURGE_EVERY_MS))
	{
		sender->purged_at = now;
		sender->api->purge(sender->sink);
	}
	return false;
}

/* How long it has nothing to do but to take in answers; -1 = for ever */
long
outbox_sender_timeout_ms(const OutboxSender *sender)
{
	return sender->state == OUTBOX_SENDER_ENDING ? PURGE_EVERY_MS : -1;
}

/* Closes the sink, if there is one. No answer comes any more. */
void
outbox_sender_close(OutboxSender *sender)
{
	OutboxSink *sink = sender->sink;

	if (sink == NULL)
		return;
	/* it is not closed twice, whatever becomes of this */
	sender->sink = NULL;
	set_state(sender, OUTBOX_SENDER_CLOSED);
	sender->in_flight = 0;
	sender->api->close(sink);
}
