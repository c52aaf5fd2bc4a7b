/*-------------------------------------------------------------------------
 *
 * producer.c
 *	  The sink that publishes to Kafka: an idempotent producer of librdkafka.
 *
 * librdkafka works in threads of its own. Nothing of ours runs in them, but
 * for what connect.c does: delivery reports, errors and log lines are events
 * of one queue, which poll() reads in the relay's thread. When that
 * queue becomes non-empty, librdkafka writes a byte into the relay's pipe.
 *
 * librdkafka blocks all signals in its threads, unless
 * internal.termination.signal is set, which properties.c refuses.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka.h"

#include <syslog.h>

#include "../compat.h"
#include "../outbox.h"
#include "fmgr.h"

PG_MODULE_MAGIC_EXT(.name = "outbox_kafka", .version = "1.0");

/* how long brokers have to answer a question about a topic */
#define ASK_MS      1000

/* how many closed producers may be left that do not end */
#define ENDING_MAX  8

/* how many threads the library may have, one for each broker that is named */
#define THREADS_MAX 2000

/* What is left of a sink while its producer ends; not palloc'd */
typedef struct Remains
{
	rd_kafka_t *rk;
	OutboxKafkaGate *gate;
} Remains;

struct OutboxSink
{
	rd_kafka_t *rk;
	Remains *remains;
	bool got_on;  /* by an answer: see connect.c */
	bool crowded; /* there are too many brokers */
	rd_kafka_queue_t *queue;
	OutboxKafkaTopics *topics;
	rd_kafka_event_t *event; /* being handed out */
	bool told;               /* it has no more parts */
	OutboxSinkEvent answer;  /* to ask_topic, if it has a topic */
	char topic[OUTBOX_TOPIC_MAX + 1];
	char message[OUTBOX_SINK_ERROR_MAX];
};

static const char *
kafka_version(void)
{
	return rd_kafka_version_str();
}

/* Asks for what has not been sent back; what has been gets its answer. */
static void
kafka_purge(OutboxSink *sink)
{
	rd_kafka_purge(sink->rk,
				   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Runs in a thread of its own, and may take long. */
static void
end_remains(void *arg)
{
	Remains *remains = arg;

	if (remains->rk != NULL)
		rd_kafka_destroy(remains->rk);
	free(remains->gate);
	free(remains);
}

static void
kafka_close(OutboxSink *sink)
{
	if (sink->event)
		rd_kafka_event_destroy(sink->event);
	if (sink->topics)
		outbox_kafka_topics_destroy(sink->topics);
	if (sink->queue)
	{
		rd_kafka_queue_io_event_enable(sink->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(sink->queue);
	}
	if (sink->rk)
	{
		/* what has no answer is read again from the outbox */
		rd_kafka_purge(sink->rk, RD_KAFKA_PURGE_F_QUEUE |
									 RD_KAFKA_PURGE_F_INFLIGHT |
									 RD_KAFKA_PURGE_F_NON_BLOCKING);
		outbox_kafka_gate_close(sink->remains->gate);
		outbox_kafka_end(end_remains, sink->remains);
	}
	else
		end_remains(sink->remains);
	pfree(sink);
}

static Remains *
make_remains(rd_kafka_conf_t *conf)
{
	Remains *remains = calloc(1, sizeof(Remains));

	if (remains != NULL && conf != NULL)
		remains->gate = outbox_kafka_gate_create(conf);
	if (remains == NULL || (conf != NULL && remains->gate == NULL))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("out of memory for a Kafka producer")));
	return remains;
}

/*
 * Raises an error when out of memory, or when too many closed sinks have not
 * ended: another process has to go on then.
 */
static OutboxSink *
kafka_open(const OutboxSinkConfig *config, char *error)
{
	OutboxSink *sink;
	rd_kafka_conf_t *conf;

	if (outbox_kafka_ending() >= ENDING_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("%d Kafka producers do not end", ENDING_MAX),
				 errdetail("Their threads wait for a broker or for a name to "
						   "be looked up. Another process goes on.")));
	sink = palloc0(sizeof(OutboxSink));
	conf = outbox_kafka_conf(config, error);
	sink->remains = make_remains(conf);
	if (conf != NULL)
	{
		char partitioner[64] = "";
		size_t size = sizeof(partitioner);

		(void) rd_kafka_conf_get(conf, "partitioner", partitioner, &size);
		sink->topics = outbox_kafka_topics_create(partitioner);
		sink->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error,
								OUTBOX_SINK_ERROR_MAX);
		if (sink->rk == NULL)
			rd_kafka_conf_destroy(conf);
	}
	if (sink->rk == NULL)
	{
		kafka_close(sink);
		return NULL;
	}
	sink->remains->rk = sink->rk;

	rd_kafka_set_log_queue(sink->rk, NULL);
	sink->queue = rd_kafka_queue_get_main(sink->rk);
	rd_kafka_queue_io_event_enable(sink->queue, config->wake_fd, "1", 1);
	return sink;
}

/* The record's headers, which rd_kafka_producev() takes over if it accepts */
static rd_kafka_headers_t *
make_headers(const OutboxRecord *record)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);

	for (int i = 0; i < record->header_count; i++)
	{
		const OutboxHeader *header = &record->headers[i];

		rd_kafka_header_add(headers, header->name, header->name_bytes,
							header->value, header->value_bytes);
	}
	return headers;
}

static OutboxSinkAnswer
refuse(rd_kafka_resp_err_t code, OutboxFailure *failure, char *error)
{
	*failure = outbox_kafka_failure(code);
	outbox_kafka_message(code, error);
	return OUTBOX_SINK_REFUSED;
}

static OutboxSinkAnswer
kafka_publish(OutboxSink *sink, const OutboxRecord *record,
			  OutboxFailure *failure, char *error)
{
	rd_kafka_topic_t *topic =
		outbox_kafka_topics_get(sink->topics, sink->rk, record->topic);
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t code;

	if (topic == NULL)
		return refuse(rd_kafka_last_error(), failure, error);
	if (record->key != NULL &&
		outbox_kafka_topics_must_wait(sink->topics, record->topic, record->key,
									  record->key_bytes))
		return OUTBOX_SINK_FULL;

	headers = make_headers(record);
	code = rd_kafka_producev(
		sink->rk, RD_KAFKA_V_RKT(topic),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_KEY(record->key, record->key_bytes),
		RD_KAFKA_V_VALUE(unconstify(char *, record->payload),
						 record->payload_bytes),
		RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
		RD_KAFKA_V_HEADERS(headers),
		RD_KAFKA_V_OPAQUE((void *) (uintptr_t) record->tag), RD_KAFKA_V_END);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (record->key != NULL)
			outbox_kafka_topics_sent(sink->topics, record->topic, record->key,
									 record->key_bytes);
		return OUTBOX_SINK_ACCEPTED;
	}

	rd_kafka_headers_destroy(headers);
	if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		return OUTBOX_SINK_FULL;
	if (code == RD_KAFKA_RESP_ERR__FATAL)
		return OUTBOX_SINK_ENDED;
	return refuse(code, failure, error);
}

/* What metadata says about a topic; librdkafka caches nothing of it. */
static void
kafka_ask_topic(OutboxSink *sink, const char *topic)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t code;
	OutboxSinkEvent *answer = &sink->answer;

	if (answer->topic != NULL)
		return;
	strlcpy(sink->topic, topic, sizeof(sink->topic));
	answer->type = OUTBOX_SINK_TOPIC;
	answer->topic = sink->topic;
	answer->state = OUTBOX_TOPIC_FINE;
	code = rd_kafka_metadata(
		sink->rk, 0, outbox_kafka_topics_get(sink->topics, sink->rk, topic),
		&metadata, ASK_MS);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (metadata->topic_cnt == 1)
			code = metadata->topics[0].err;
		rd_kafka_metadata_destroy(metadata);
	}
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	refuse(code, &answer->failure, sink->message);
	answer->message = sink->message;
	answer->state = (answer->failure == OUTBOX_FAILURE_CLUSTER)
						? OUTBOX_TOPIC_SILENT
						: OUTBOX_TOPIC_FAULTY;
}

/* A delivery report: the fate of one record */
static void
tell_delivery(OutboxSink *sink, const rd_kafka_message_t *message,
			  OutboxSinkEvent *event)
{
	event->tag = (uint64) (uintptr_t) message->_private;
	if (message->key != NULL)
		outbox_kafka_topics_answered(
			sink->topics, sink->rk, rd_kafka_topic_name(message->rkt),
			message->key, message->key_len,
			message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
	switch (message->err)
	{
		case RD_KAFKA_RESP_ERR_NO_ERROR:
			event->type = OUTBOX_SINK_DELIVERED;
			sink->got_on = true;
			break;
		case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
		case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
		case RD_KAFKA_RESP_ERR__FATAL:
			event->type = OUTBOX_SINK_PURGED;
			break;
		default:
			event->type = OUTBOX_SINK_FAILED;
			event->failure = outbox_kafka_failure(message->err);
			if (event->failure != OUTBOX_FAILURE_CLUSTER)
				sink->got_on = true;
			event->topic = rd_kafka_topic_name(message->rkt);
			outbox_kafka_message(message->err, sink->message);
			event->message = sink->message;
	}
}

static void
tell_error(OutboxSink *sink, OutboxSinkEvent *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(sink->event);

	if (code == RD_KAFKA_RESP_ERR__FATAL)
	{
		event->type = OUTBOX_SINK_FATAL;
		rd_kafka_fatal_error(sink->rk, sink->message, sizeof(sink->message));
		event->message = sink->message;
	}
	else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
			 outbox_kafka_failure(code) == OUTBOX_FAILURE_LOGIN)
	{
		event->type = OUTBOX_SINK_UNREACHABLE;
		event->failure = outbox_kafka_failure(code);
		event->message = rd_kafka_event_error_string(sink->event);
	}
	else if (outbox_kafka_failure(code) == OUTBOX_FAILURE_CLUSTER)
	{
		event->type = OUTBOX_SINK_LOST;
		event->message = rd_kafka_event_error_string(sink->event);
	}
	else
	{
		event->type = OUTBOX_SINK_LOG;
		event->log_level = LOG_WARNING;
		event->message = rd_kafka_event_error_string(sink->event);
	}
}

static void
tell_log(OutboxSink *sink, OutboxSinkEvent *event)
{
	const char *facility;
	const char *text;

	rd_kafka_event_log(sink->event, &facility, &text, &event->log_level);
	/* what the library thinks of our settings is known here; and what fails
	 * comes as an error, too */
	if (strcmp(facility, "CONFWARN") == 0 || strcmp(facility, "FAIL") == 0 ||
		strcmp(facility, "FATAL") == 0)
		event->log_level = LOG_DEBUG;
	snprintf(sink->message, sizeof(sink->message), "%s: %s", facility, text);
	event->type = OUTBOX_SINK_LOG;
	event->message = sink->message;
}

/* Hands out the current event, or its next part; false if it is used up. */
static bool
tell_event(OutboxSink *sink, OutboxSinkEvent *event)
{
	const rd_kafka_message_t *message;

	switch (rd_kafka_event_type(sink->event))
	{
		case RD_KAFKA_EVENT_DR:
			message = rd_kafka_event_message_next(sink->event);
			if (message == NULL)
				return false;
			tell_delivery(sink, message, event);
			return true;
		case RD_KAFKA_EVENT_ERROR:
			tell_error(sink, event);
			sink->told = true;
			return true;
		case RD_KAFKA_EVENT_LOG:
			tell_log(sink, event);
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
	event->type = OUTBOX_SINK_FATAL;
	event->message = "the brokers name too many brokers";
	return true;
}

/*
 * An event is kept while it is being handed out: its message points into it.
 */
static bool
kafka_poll(OutboxSink *sink, OutboxSinkEvent *event)
{
	memset(event, 0, sizeof(*event));
	if (sink->answer.topic != NULL)
	{
		*event = sink->answer;
		sink->answer.topic = NULL;
		return true;
	}

	for (;;)
	{
		if (sink->event != NULL)
		{
			if (!sink->told && tell_event(sink, event))
				return true;
			rd_kafka_event_destroy(sink->event);
			if (sink->got_on)
				outbox_kafka_gate_open_wide();
			sink->got_on = false;
		}
		sink->told = false;
		sink->event = rd_kafka_queue_poll(sink->queue, 0);
		if (sink->event == NULL)
			return is_crowded(sink, event);
	}
}

static bool
kafka_has_ended(void)
{
	return outbox_kafka_ending() == 0;
}

static const OutboxSinkApi kafka_api = {
	.version = kafka_version,
	.open = kafka_open,
	.publish = kafka_publish,
	.ask_topic = kafka_ask_topic,
	.poll = kafka_poll,
	.purge = kafka_purge,
	.close = kafka_close,
	.has_ended = kafka_has_ended,
};

extern PGDLLEXPORT const OutboxSinkApi *outbox_sink_api(void);

const OutboxSinkApi *
outbox_sink_api(void)
{
	return &kafka_api;
}
