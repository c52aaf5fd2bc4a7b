/*-------------------------------------------------------------------------
 *
 * poll.c
 *	  What the sink tells the relay: delivery reports, errors and log lines of
 *	  the library, records that come back, and answers about topics.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <syslog.h>

/* how many threads the library may have, one for each broker that is named */
#define THREADS_MAX   2000

/* statistics are not told more often */
#define STATISTICS_MS 1000

/* Why a record has not been published */
static void
make_failure(OutboxSink *sink, rd_kafka_resp_err_t code, const char *topic,
			 OutboxSinkEvent *event)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
		case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
		case RD_KAFKA_RESP_ERR__FATAL:
			event->type = OUTBOX_SINK_PURGED;
			break;
		default:
			event->type = OUTBOX_SINK_FAILED;
			event->failure = outbox_kafka_failure(code);
			event->topic = topic;
			outbox_kafka_message(code, sink->message);
			event->message = sink->message;
	}
}

/* A delivery report: the fate of one record */
static void
make_delivery(OutboxSink *sink, const rd_kafka_message_t *message,
			  OutboxSinkEvent *event)
{
	OutboxKafkaTopic *topic = outbox_kafka_topic_of(message->rkt);
	int32 number = outbox_kafka_answered(sink, topic, message);

	event->tag = (uint64) (uintptr_t) message->_private;
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		event->type = OUTBOX_SINK_DELIVERED;
		sink->got_on = true;
		sink->served = true;
	}
	else
	{
		make_failure(sink, message->err, topic->name, event);
		if (event->type == OUTBOX_SINK_FAILED &&
			event->failure != OUTBOX_FAILURE_CLUSTER)
			sink->got_on = true;
		if (event->type == OUTBOX_SINK_FAILED &&
			event->failure == OUTBOX_FAILURE_TOPIC)
			outbox_kafka_topic_failed(sink, topic, message->err);
		else if (!sink->keys_once)
			outbox_kafka_stop(sink);
	}
	outbox_kafka_release(sink, topic, number);
}

/* A record that comes back without having been sent */
static void
make_returned(OutboxSink *sink, const OutboxKafkaHeld *held,
			  OutboxSinkEvent *event)
{
	event->tag = held->record.tag;
	make_failure(sink, held->code, held->topic->name, event);
}

/* The sink ends; told as the library's log line would be. */
static void
make_fatal(OutboxSink *sink, const char *reason, OutboxSinkEvent *event)
{
	snprintf(sink->message, sizeof(sink->message), "FATAL: %s", reason);
	event->type = OUTBOX_SINK_FATAL;
	event->message = sink->message;
}

/* Whose fault an error is, by what it is about */
static OutboxFailure
blame(OutboxTrouble trouble, rd_kafka_resp_err_t code)
{
	switch (trouble)
	{
		case OUTBOX_TROUBLE_CERTIFICATE:
		case OUTBOX_TROUBLE_ANONYMOUS:
			return OUTBOX_FAILURE_LOGIN;
		case OUTBOX_TROUBLE_AWAY:
			/* it connects again by itself: see tls.c */
			if (outbox_kafka_failure(code) == OUTBOX_FAILURE_LOGIN)
				return OUTBOX_FAILURE_CLUSTER;
			return outbox_kafka_failure(code);
		case OUTBOX_TROUBLE_TOKEN:
			/* the library goes on asking for one, and the last one may be
			 * good for some time */
			return OUTBOX_FAILURE_CLUSTER;
		default:
			return outbox_kafka_failure(code);
	}
}

static void
make_error(OutboxSink *sink, OutboxSinkEvent *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(sink->event);

	event->message = rd_kafka_event_error_string(sink->event);
	event->trouble = outbox_kafka_trouble(sink, code, &event->message);
	event->failure = blame(event->trouble, code);
	if (code == RD_KAFKA_RESP_ERR__FATAL)
	{
		char reason[OUTBOX_SINK_ERROR_MAX - 10];

		outbox_kafka_stop(sink);
		rd_kafka_fatal_error(sink->rk, reason, sizeof(reason));
		make_fatal(sink, reason, event);
	}
	else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
			 event->failure == OUTBOX_FAILURE_LOGIN)
		event->type = OUTBOX_SINK_UNREACHABLE;
	else if (event->failure == OUTBOX_FAILURE_CLUSTER)
		event->type = OUTBOX_SINK_LOST;
	else
	{
		event->type = OUTBOX_SINK_LOG;
		event->log_level = LOG_WARNING;
	}
}

static void
make_log(OutboxSink *sink, OutboxSinkEvent *event)
{
	const char *facility;
	const char *text;
	int level;

	rd_kafka_event_log(sink->event, &facility, &text, &level);
	outbox_kafka_tls_log(sink, facility, text);
	event->message = sink->message;
	event->trouble = outbox_kafka_log_trouble(sink, facility, text, level);
	if (event->trouble != OUTBOX_TROUBLE_AWAY)
	{
		event->type = OUTBOX_SINK_LOST;
		event->failure = OUTBOX_FAILURE_CLUSTER;
		return;
	}
	event->type = OUTBOX_SINK_LOG;
	/* what the library thinks of our settings is known here; and what fails
	 * comes as an error, too */
	if (strcmp(facility, "CONFWARN") == 0 || strcmp(facility, "FAIL") == 0 ||
		strcmp(facility, "FATAL") == 0 || strncmp(facility, "SSL", 3) == 0)
		level = LOG_DEBUG;
	event->log_level = level;
	if (outbox_kafka_is_of_tokens(facility))
		outbox_kafka_copy_harmless(sink->message, sizeof(sink->message), text);
	else
		snprintf(sink->message, sizeof(sink->message), "%s: %s", facility,
				 text);
}

/* Hands out the current event, or its next part; false if it is used up. */
static bool
make_event(OutboxSink *sink, OutboxSinkEvent *event)
{
	const rd_kafka_message_t *message;

	switch (rd_kafka_event_type(sink->event))
	{
		case RD_KAFKA_EVENT_DR:
			message = rd_kafka_event_message_next(sink->event);
			if (message == NULL)
				return false;
			make_delivery(sink, message, event);
			return true;
		case RD_KAFKA_EVENT_ERROR:
			make_error(sink, event);
			sink->told = true;
			return true;
		case RD_KAFKA_EVENT_LOG:
			make_log(sink, event);
			sink->told = true;
			return true;
		default:
			return false;
	}
}

/* Brokers can name ever more brokers, and the library starts a thread for each
 * name: tells once that there are too many. */
static bool
is_crowded(OutboxSink *sink, OutboxSinkEvent *event)
{
	if (sink->crowded || rd_kafka_thread_cnt() <= THREADS_MAX)
		return false;
	sink->crowded = true;
	make_fatal(sink, "the brokers name too many brokers", event);
	return true;
}

/* Tells how brokers are doing, if they have answered since. */
static bool
make_statistics(OutboxSink *sink, OutboxSinkEvent *event)
{
	if (sink->now < sink->statistics_at ||
		!outbox_kafka_meter_read(sink->remains->meter, &sink->statistics))
		return false;
	sink->statistics_at = sink->now + STATISTICS_MS;
	event->type = OUTBOX_SINK_STATISTICS;
	event->statistics = &sink->statistics;
	return true;
}

/* Are they the same, but for the time that the library adds in parentheses? */
bool
outbox_kafka_is_same_message(const char *a, const char *b)
{
	size_t len = strcspn(a, "(");

	return len == strcspn(b, "(") && strncmp(a, b, len) == 0;
}

/*
 * An event is kept while it is being handed out: its message points into it.
 */
bool
outbox_kafka_poll(OutboxSink *sink, OutboxSinkEvent *event)
{
	const OutboxKafkaHeld *held = outbox_kafka_next_returned(sink);

	memset(event, 0, sizeof(*event));
	if (held != NULL)
	{
		make_returned(sink, held, event);
		return true;
	}
	for (;;)
	{
		if (sink->event != NULL)
		{
			if (!sink->told && make_event(sink, event))
				return true;
			rd_kafka_event_destroy(sink->event);
			if (sink->got_on)
				outbox_kafka_gate_open_wide();
			sink->got_on = false;
		}
		sink->told = false;
		sink->now = outbox_kafka_clock_ms();
		sink->event = rd_kafka_queue_poll(sink->queue, 0);
		if (sink->event == NULL)
			break;
	}
	if (outbox_kafka_make_answer(sink, event))
		return true;
	outbox_kafka_release_stalled(sink);
	outbox_kafka_ask_counts(sink);
	return is_crowded(sink, event) || make_statistics(sink, event);
}
