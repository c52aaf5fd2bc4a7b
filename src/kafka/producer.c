/*-------------------------------------------------------------------------
 *
 * producer.c
 *	  The sink that publishes to Kafka: an idempotent producer of librdkafka.
 *
 * librdkafka works in threads of its own. Nothing of ours runs in them, but
 * for connect.c, meter.c, tls.c and the partitioner of topics.c: delivery
 * reports, errors and log lines are events of one queue, which poll() reads in
 * the relay's thread. When that queue becomes non-empty, librdkafka writes a
 * byte into the relay's pipe.
 *
 * librdkafka blocks all signals in its threads, unless
 * internal.termination.signal is set, which kafka_rules.c refuses.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include "fmgr.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "compat.h"

PG_MODULE_MAGIC_EXT(.name = "outbox_kafka", .version = OUTBOX_VERSION);

/* how many closed producers may be left that do not end */
#define ENDING_MAX 8

/* how long the number of partitions is believed, if the library never looks
 * at it by itself */
#define COUNT_MS   300000

static const char *
kafka_version(void)
{
	return rd_kafka_version_str();
}

/* Asks for what has not been sent back; what has been gets its answer. */
static void
kafka_purge(OutboxSink *sink)
{
	outbox_kafka_stop(sink);
	rd_kafka_purge(sink->rk,
				   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Runs in a thread of its own, and may take long. */
static void
end_remains(void *arg)
{
	OutboxKafkaRemains *remains = arg;

	if (remains->query != NULL)
		outbox_kafka_query_destroy(remains->query);
	if (remains->rk != NULL)
		rd_kafka_destroy(remains->rk);
	outbox_kafka_sensors_free(remains->sensors);
	free(remains->gate);
	outbox_kafka_meter_destroy(remains->meter);
	free(remains);
}

static void
kafka_close(OutboxSink *sink)
{
	if (sink->event)
		rd_kafka_event_destroy(sink->event);
	if (sink->topics)
		sink->remains->sensors = outbox_kafka_topics_destroy(sink->topics);
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
	free(sink->question);
	if (sink->context)
		MemoryContextDelete(sink->context);
	pfree(sink);
}

static OutboxKafkaRemains *
make_remains(rd_kafka_conf_t *conf, bool watch)
{
	OutboxKafkaRemains *remains = calloc(1, sizeof(OutboxKafkaRemains));

	if (remains != NULL && conf != NULL)
	{
		rd_kafka_conf_set_opaque(conf, remains);
		remains->gate = outbox_kafka_gate_create(conf);
		remains->meter = outbox_kafka_meter_create(conf, watch);
	}
	if (remains == NULL ||
		(conf != NULL && (remains->gate == NULL || remains->meter == NULL)))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("out of memory for a Kafka producer")));
	return remains;
}

/* Milliseconds of a clock that nobody sets */
int64
outbox_kafka_clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* What the library uses for a property */
static void
get_property(OutboxSink *sink, const char *name, char *value, size_t size)
{
	value[0] = '\0';
	(void) rd_kafka_conf_get(rd_kafka_conf(sink->rk), name, value, &size);
}

/* What the sink knows and keeps by itself */
static void
make_memory(OutboxSink *sink)
{
	char value[64];

	get_property(sink, "partitioner", value, sizeof(value));
	sink->topics = outbox_kafka_topics_create(value);
	get_property(sink, "topic.metadata.refresh.interval.ms", value,
				 sizeof(value));
	sink->count_ms = atoi(value) > 0 ? atoi(value) : COUNT_MS;
	sink->query = sink->remains->query =
		outbox_kafka_query_create(sink->rk, sink->wake_fd);
	sink->context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox Kafka sink", ALLOCSET_DEFAULT_SIZES);
	sink->now = outbox_kafka_clock_ms();
	sink->count_at = sink->now + sink->count_ms;
}

/*
 * Raises an error when out of memory, or when too many closed sinks have not
 * ended: another process has to go on then.
 */
static OutboxSink *
kafka_open(const OutboxSinkConfig *config, char *error)
{
	static bool refused = false; /* the last one could not be made */
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
	sink->remains = make_remains(conf, !refused);
	if (conf != NULL)
	{
		sink->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error,
								OUTBOX_SINK_ERROR_MAX);
		if (sink->rk == NULL)
		{
			/* the library has freed what interceptors have added, and would
			 * again: so one with an interceptor is left, and the next ones
			 * have none until one can be made */
			if (refused)
				rd_kafka_conf_destroy(conf);
			outbox_kafka_name_refusal(error);
		}
		refused = (sink->rk == NULL);
	}
	if (sink->rk == NULL)
	{
		kafka_close(sink);
		return NULL;
	}
	sink->remains->rk = sink->rk;

	rd_kafka_set_log_queue(sink->rk, NULL);
	sink->queue = rd_kafka_queue_get_main(sink->rk);
	sink->wake_fd = config->wake_fd;
	sink->keys_once = config->keys_once;
	sink->anonymous = outbox_kafka_is_anonymous(sink->rk);
	rd_kafka_queue_io_event_enable(sink->queue, sink->wake_fd, "1", 1);
	make_memory(sink);
	return sink;
}

static OutboxSinkAnswer
refuse(rd_kafka_resp_err_t code, OutboxFailure *failure, char *error)
{
	*failure = outbox_kafka_failure(code);
	outbox_kafka_message(code, error);
	return OUTBOX_SINK_REFUSED;
}

/* Are there records that have no answer yet? */
static bool
is_busy(OutboxSink *sink)
{
	return sink->held_count > 0 || rd_kafka_outq_len(sink->rk) > 0;
}

static OutboxSinkAnswer
kafka_publish(OutboxSink *sink, const OutboxRecord *record,
			  OutboxFailure *failure, char *error)
{
	OutboxKafkaTopic *topic;
	OutboxKafkaPartition *partition = NULL;
	rd_kafka_resp_err_t code;

	if (sink->ended)
		return OUTBOX_SINK_ENDED;
	topic = outbox_kafka_topic(sink->topics, sink->rk, record->topic);
	/* another sink begins when this one has done its work */
	if (topic == NULL && outbox_kafka_topics_full(sink->topics))
		return is_busy(sink) ? OUTBOX_SINK_FULL : OUTBOX_SINK_ENDED;
	if (topic == NULL)
		return refuse(rd_kafka_last_error(), failure, error);
	if (topic->failed != RD_KAFKA_RESP_ERR_NO_ERROR)
		return refuse(topic->failed, failure, error);

	if (record->key != NULL && !sink->keys_once)
	{
		partition = outbox_kafka_partition(sink, topic, record);
		if (partition->held.first != NULL ||
			!outbox_kafka_may_send(sink, topic, partition))
		{
			outbox_kafka_hold(sink, topic, partition, record);
			return OUTBOX_SINK_ACCEPTED;
		}
	}

	code = outbox_kafka_produce(sink, topic, partition, record);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return OUTBOX_SINK_ACCEPTED;
	if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		return OUTBOX_SINK_FULL;
	if (code == RD_KAFKA_RESP_ERR__FATAL)
	{
		outbox_kafka_stop(sink);
		return OUTBOX_SINK_ENDED;
	}
	if (outbox_kafka_failure(code) == OUTBOX_FAILURE_TOPIC)
		outbox_kafka_topic_failed(sink, topic, code);
	return refuse(code, failure, error);
}

static bool
kafka_has_ended(void)
{
	return outbox_kafka_ending() == 0;
}

static const OutboxSinkApi kafka_api = {
	.interface = OUTBOX_SINK_INTERFACE,
	.words = outbox_kafka_words,
	.batch_bytes_max = 1000000,
	.version = kafka_version,
	.is_same_message = outbox_kafka_is_same_message,
	.open = kafka_open,
	.publish = kafka_publish,
	.ask_topic = outbox_kafka_ask_topic,
	.poll = outbox_kafka_poll,
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
