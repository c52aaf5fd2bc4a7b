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
 * Topics have other names in the cluster, if the relay has a topic_prefix: it
 * is put before each name that goes to the module, and taken off those that
 * come from it. So nobody else knows of it, and nothing that is stored has it.
 *
 * Which tags are in flight is known here, and nothing is believed of a module:
 * an answer to another tag is an error, which is raised, as all that it must
 * not say (module.c). After an error in a call of the module, it is open what
 * the sink has; so it ends.
 *
 * Nothing here waits. Who sends within transactions of the broker would begin
 * one in outbox_sender_begin_batch(), and commit it when all are answered.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "sink/client_log.h"
#include "sink/message.h"
#include "sink/module.h"
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
 * Opens a sink, when there is none. The configuration stays as long as it is
 * open. Returns false, and a message in error (of OUTBOX_SINK_ERROR_MAX bytes),
 * if that is not possible.
 */
bool
outbox_sender_try_open(OutboxSender *sender, const OutboxSinkConfig *config,
					   char *error)
{
	uint32 tags =
		pg_nextpower2_32(Max(config->window_events, OUTBOX_SENDER_BATCH_MAX));
	size_t prefix_bytes =
		strlcpy(sender->topic, config->topic_prefix, sizeof(sender->topic));

	if (prefix_bytes >= sizeof(sender->topic))
	{
		snprintf(error, OUTBOX_SINK_ERROR_MAX,
				 "topic_prefix has %zu bytes, more than the name of a topic",
				 prefix_bytes);
		return false;
	}
	sender->prefix_bytes = (int) prefix_bytes;
	sender->properties = config->properties;
	sender->sink = outbox_module_open(sender->api, config, error);
	if (sender->sink == NULL)
	{
		const char *message = outbox_message_harmless(sender->properties,
													  error, sender->message);

		if (message != error)
			strlcpy(error, message, OUTBOX_SINK_ERROR_MAX);
		return false;
	}
	set_state(sender, OUTBOX_SENDER_OPEN);
	sender->tags_mask = tags - 1;
	sender->tags = MemoryContextAllocExtended(
		TopMemoryContext, tags / 8, MCXT_ALLOC_ZERO | MCXT_ALLOC_NO_OOM);
	if (sender->tags == NULL)
	{
		outbox_sender_close(sender);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("out of memory for %s", sender->label)));
	}
	sender->in_flight = 0;
	sender->questions = 0;
	sender->calling = false;
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

/* Tags in flight differ by less than a window, or a batch: a bit for each */
static uint8 *
tag_byte(OutboxSender *sender, uint64 tag)
{
	return &sender->tags[(tag & sender->tags_mask) / 8];
}

static uint8
tag_bit(uint64 tag)
{
	return 1 << tag % 8;
}

/*
 * The name that a topic has in the cluster, valid until the next call; NULL,
 * and a message in error (of OUTBOX_SINK_ERROR_MAX bytes), if it is too long.
 */
static const char *
name_in_cluster(OutboxSender *sender, const char *topic, char *error)
{
	char *place = sender->topic + sender->prefix_bytes;
	int max = outbox_module_kind()->topic_max;
	size_t bytes;

	if (sender->prefix_bytes == 0)
		return topic;
	/* a run of events often has one topic */
	if (strcmp(place, topic) == 0)
		return sender->topic;
	bytes = sender->prefix_bytes + strlen(topic);
	if (bytes > (size_t) max)
	{
		snprintf(error, OUTBOX_SINK_ERROR_MAX,
				 "the topic's name has %zu bytes together with topic_prefix "
				 "\"%.*s\" of its relay; %s allows %d",
				 bytes, sender->prefix_bytes, sender->topic,
				 outbox_module_kind()->name, max);
		return NULL;
	}
	strlcpy(place, topic, sizeof(sender->topic) - sender->prefix_bytes);
	return sender->topic;
}

/* A topic that the module tells of gets the name that it has here. */
static void
take_prefix_off(const OutboxSender *sender, OutboxSinkEvent *event)
{
	if ((event->type != OUTBOX_SINK_TOPIC &&
		 event->type != OUTBOX_SINK_FAILED) ||
		sender->prefix_bytes == 0 || event->topic == NULL)
		return;
	if (strncmp(event->topic, sender->topic, sender->prefix_bytes) != 0)
		outbox_module_broken("an answer about a topic that it was not told");
	event->topic += sender->prefix_bytes;
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
	OutboxRecord renamed;
	OutboxSinkAnswer answer;

	if (sender->state != OUTBOX_SENDER_OPEN)
		return OUTBOX_SINK_ENDED;
	if (sender->prefix_bytes > 0)
	{
		renamed = *record;
		renamed.topic = name_in_cluster(sender, record->topic, error);
		*failure = OUTBOX_FAILURE_INVALID;
		if (renamed.topic == NULL)
			return OUTBOX_SINK_REFUSED;
		record = &renamed;
	}
	sender->next_tag = record->tag + 1;
	sender->in_flight++;
	*tag_byte(sender, record->tag) |= tag_bit(record->tag);
	sender->calling = true;
	answer = outbox_module_publish(sender->api, sender->sink, record, failure,
								   error);
	sender->calling = false;
	if (answer == OUTBOX_SINK_ACCEPTED)
		return answer;
	*tag_byte(sender, record->tag) &= ~tag_bit(record->tag);
	sender->in_flight--;
	if (answer == OUTBOX_SINK_REFUSED)
		outbox_message_make_readable(error);
	if (answer == OUTBOX_SINK_ENDED)
		outbox_sender_end(sender);
	return answer;
}

/* An event has its answer. */
static void
take_answer(OutboxSender *sender, uint64 tag)
{
	uint8 *byte = tag_byte(sender, tag);

	if (!(*byte & tag_bit(tag)) || tag < sender->first_tag ||
		tag >= sender->next_tag)
		outbox_module_broken("an answer for an event that it does not have");
	*byte &= ~tag_bit(tag);
	sender->in_flight--;
}

/* What has happened to the sink, before its user sees it */
static void
take_event(OutboxSender *sender, const OutboxSinkEvent *event)
{
	switch (event->type)
	{
		case OUTBOX_SINK_DELIVERED:
		case OUTBOX_SINK_PURGED:
			take_answer(sender, event->tag);
			break;
		case OUTBOX_SINK_FAILED:
			take_answer(sender, event->tag);
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
			if (sender->questions == 0)
				outbox_module_broken("an answer that nobody has asked for");
			sender->questions--;
			break;
		case OUTBOX_SINK_LOST:
		case OUTBOX_SINK_UNREACHABLE:
		case OUTBOX_SINK_STATISTICS:
			break;
	}
}

/*
 * Takes in one thing that the sink has to tell; false if there is nothing. The
 * event is valid until the next call. Lines for the log have been logged.
 */
bool
outbox_sender_poll(OutboxSender *sender, OutboxSinkEvent *event)
{
	bool any;

	if (sender->sink == NULL)
		return false;
	/* then the last call has raised an error */
	if (sender->calling)
		outbox_sender_end(sender);
	sender->calling = true;
	any = outbox_module_poll(sender->api, sender->sink, event);
	if (any && event->message != NULL)
		event->message = outbox_message_harmless(
			sender->properties, event->message, sender->message);
	if (any)
	{
		take_prefix_off(sender, event);
		take_event(sender, event);
	}
	sender->calling = false;
	return any;
}

/* Asks the brokers about a topic; see sink.h. */
void
outbox_sender_ask_topic(OutboxSender *sender, const char *topic)
{
	char error[OUTBOX_SINK_ERROR_MAX];
	const char *name = name_in_cluster(sender, topic, error);

	/* none of its events has been handed over */
	if (name == NULL)
		return;
	sender->questions++;
	sender->api->ask_topic(sender->sink, name);
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

/* How long it has nothing to do but to take in answers; -1 = forever */
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
	if (sender->tags != NULL)
		pfree(sender->tags);
	sender->tags = NULL;
	sender->api->close(sink);
}
