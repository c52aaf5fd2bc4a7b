/*-------------------------------------------------------------------------
 *
 * poll.c
 *	  What the sink tells the relay: delivery reports, errors and log lines of
 *	  the library, records that come back, and answers about topics.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

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
			outbox_kafka_message(code, sink->client.message);
			event->message = sink->client.message;
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
		sink->client.got_on = true;
		sink->client.served = true;
	}
	else
	{
		make_failure(sink, message->err, topic->name, event);
		if (event->type == OUTBOX_SINK_FAILED &&
			event->failure != OUTBOX_FAILURE_CLUSTER)
			sink->client.got_on = true;
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

/* What the library says of itself and the brokers */
static void
make_news(OutboxSink *sink, const OutboxKafkaReport *report,
		  OutboxSinkEvent *event)
{
	static const OutboxSinkEventType types[] = {
		[OUTBOX_KAFKA_LOST] = OUTBOX_SINK_LOST,
		[OUTBOX_KAFKA_UNREACHABLE] = OUTBOX_SINK_UNREACHABLE,
		[OUTBOX_KAFKA_FATAL] = OUTBOX_SINK_FATAL,
		[OUTBOX_KAFKA_LOG] = OUTBOX_SINK_LOG,
	};

	if (report->news == OUTBOX_KAFKA_FATAL)
		outbox_kafka_stop(sink);
	event->type = types[report->news];
	event->failure = report->failure;
	event->trouble = report->trouble;
	event->log_level = report->log_level;
	event->message = report->message;
}

/* Hands out the current event, or its next part; false if it is used up. */
static bool
make_event(OutboxSink *sink, OutboxSinkEvent *event)
{
	const rd_kafka_message_t *message;
	OutboxKafkaReport report;

	switch (rd_kafka_event_type(sink->client.event))
	{
		case RD_KAFKA_EVENT_DR:
			message = rd_kafka_event_message_next(sink->client.event);
			if (message == NULL)
				return false;
			make_delivery(sink, message, event);
			return true;
		case RD_KAFKA_EVENT_ERROR:
			outbox_kafka_report_error(&sink->client, &report);
			make_news(sink, &report, event);
			sink->client.told = true;
			return true;
		case RD_KAFKA_EVENT_LOG:
			outbox_kafka_report_log(&sink->client, &report);
			make_news(sink, &report, event);
			sink->client.told = true;
			return true;
		default:
			return false;
	}
}

static bool
is_crowded(OutboxSink *sink, OutboxSinkEvent *event)
{
	OutboxKafkaReport report = {0};

	if (!outbox_kafka_client_is_crowded(&sink->client, &report))
		return false;
	make_news(sink, &report, event);
	return true;
}

/* Tells how brokers are doing, if they have answered since. */
static bool
make_statistics(OutboxSink *sink, OutboxSinkEvent *event)
{
	if (sink->client.now < sink->statistics_at ||
		!outbox_kafka_meter_read(sink->client.remains->meter,
								 &sink->statistics))
		return false;
	sink->statistics_at = sink->client.now + STATISTICS_MS;
	event->type = OUTBOX_SINK_STATISTICS;
	event->statistics = &sink->statistics;
	return true;
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
	while (outbox_kafka_client_next(&sink->client))
	{
		if (!sink->client.told && make_event(sink, event))
			return true;
		outbox_kafka_client_done(&sink->client);
	}
	if (outbox_kafka_make_answer(sink, event))
		return true;
	outbox_kafka_release_stalled(sink);
	outbox_kafka_ask_counts(sink);
	return is_crowded(sink, event) || make_statistics(sink, event);
}
