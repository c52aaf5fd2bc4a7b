/*-------------------------------------------------------------------------
 *
 * producer.c
 *	  The sink that publishes to Kafka: an idempotent producer of librdkafka.
 *	  What goes out is here, and what comes back in poll.c; client.c tells of
 *	  the library's threads.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include "utils/memutils.h"

/* how long the number of partitions is believed, if the library never looks
 * at it by itself */
#define COUNT_MS 300000

/* Asks for what has not been sent back; what has been gets its answer. */
static void
kafka_purge(OutboxSink *sink)
{
	outbox_kafka_stop(sink);
	rd_kafka_purge(sink->client.rk,
				   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

static void
kafka_close(OutboxSink *sink)
{
	if (sink->topics)
		sink->client.remains->sensors =
			outbox_kafka_topics_destroy(sink->topics);
	/* what has no answer is read again from the outbox */
	if (sink->client.rk)
		rd_kafka_purge(sink->client.rk, RD_KAFKA_PURGE_F_QUEUE |
											RD_KAFKA_PURGE_F_INFLIGHT |
											RD_KAFKA_PURGE_F_NON_BLOCKING);
	outbox_kafka_client_close(&sink->client);
	if (sink->context)
		MemoryContextDelete(sink->context);
	pfree(sink);
}

/* What the library uses for a property */
static void
get_property(OutboxSink *sink, const char *name, char *value, size_t size)
{
	value[0] = '\0';
	(void) rd_kafka_conf_get(rd_kafka_conf(sink->client.rk), name, value,
							 &size);
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
	sink->context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox Kafka sink", ALLOCSET_DEFAULT_SIZES);
	sink->count_at = sink->client.now + sink->count_ms;
}

/*
 * Raises an error when out of memory, or when too many closed sinks have not
 * ended: another process has to go on then.
 */
static OutboxSink *
kafka_open(const OutboxSinkConfig *config, char *error)
{
	OutboxSink *sink = palloc0(sizeof(OutboxSink));

	if (!outbox_kafka_client_open(&sink->client, RD_KAFKA_PRODUCER,
								  outbox_kafka_sink_conf(config, error),
								  config->wake_fd, error))
	{
		pfree(sink);
		return NULL;
	}
	sink->keys_once = config->keys_once;
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
	return sink->held_count > 0 || rd_kafka_outq_len(sink->client.rk) > 0;
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
	topic = outbox_kafka_topic(sink->topics, sink->client.rk, record->topic);
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

static const OutboxSinkApi kafka_api = {
	.interface = OUTBOX_SINK_INTERFACE,
	.words = outbox_kafka_words,
	.batch_bytes_max = 1000000,
	.version = outbox_kafka_version,
	.is_same_message = outbox_kafka_is_same_message,
	.open = kafka_open,
	.publish = kafka_publish,
	.ask_topic = outbox_kafka_ask_topic,
	.poll = outbox_kafka_poll,
	.purge = kafka_purge,
	.close = kafka_close,
	.has_ended = outbox_kafka_has_ended,
};

extern PGDLLEXPORT const OutboxSinkApi *outbox_sink_api(void);

const OutboxSinkApi *
outbox_sink_api(void)
{
	return &kafka_api;
}
