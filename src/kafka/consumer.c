/*-------------------------------------------------------------------------
 *
 * consumer.c
 *	  The source that reads from Kafka: a consumer of librdkafka that is a
 *	  member of no group. It is told which partitions to read, and from where.
 *
 * That is the library's simple consumer: each partition is started and stopped
 * by itself, and no coordinator has to be there. What it has fetched of a
 * partition that has been stopped, or started anew, the library leaves out:
 * each of them counts up the partition's version, and a message with an older
 * one is dropped when it would be handed out.
 *
 * What cannot be read (a checksum that is wrong, a compression that this
 * library has not) the library reports, and goes on behind it. A subscriber
 * must not: so such a partition is stopped at once, and started again where it
 * was, until it can be read, or the subscriber goes elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include "utils/memutils.h"

/* when a partition that could not be read is tried again */
#define RETRY_MS 2000

/* Has the library read a partition, from the next offset on. */
void
outbox_kafka_read(OutboxSource *source, OutboxKafkaReadTopic *topic,
				  int32 partition)
{
	OutboxKafkaReading *reading = &topic->readings[partition];

	outbox_kafka_halt(topic, partition);
	reading->running =
		rd_kafka_consume_start_queue(topic->handle, partition, reading->next,
									 source->client.queue) == 0;
	if (!reading->running)
		outbox_kafka_read_later(source, topic, partition);
}

/* Has the library not read it; all that it has fetched is forgotten. */
void
outbox_kafka_halt(OutboxKafkaReadTopic *topic, int32 partition)
{
	OutboxKafkaReading *reading = &topic->readings[partition];

	reading->retry_at = 0;
	reading->missing = false;
	if (reading->running)
		rd_kafka_consume_stop(topic->handle, partition);
	reading->running = false;
}

static void
read_at(OutboxSource *source, OutboxKafkaReading *reading, int64 retry_at)
{
	reading->retry_at = retry_at;
	if (source->retry_at == 0 || retry_at < source->retry_at)
		source->retry_at = retry_at;
}

/* The same, but it is read again in a while. */
void
outbox_kafka_read_later(OutboxSource *source, OutboxKafkaReadTopic *topic,
						int32 partition)
{
	outbox_kafka_halt(topic, partition);
	read_at(source, &topic->readings[partition],
			outbox_kafka_clock_ms() + RETRY_MS);
}

/*
 * The brokers have told that the topic has so many partitions: those that were
 * missing are read again, with one of the next polls. The subscriber, who is
 * told of it first, may think that this is another topic.
 */
void
outbox_kafka_read_missing(OutboxSource *source, OutboxKafkaReadTopic *topic,
						  int count)
{
	for (int i = 0; i < Min(count, topic->count); i++)
	{
		OutboxKafkaReading *reading = &topic->readings[i];

		if (reading->missing)
			read_at(source, reading, source->client.now);
		reading->missing = false;
	}
}

/* Reads those whose time has come. */
void
outbox_kafka_read_due(OutboxSource *source)
{
	OutboxKafkaReadTopic *topic = source->readings->topics;

	if (source->retry_at == 0 || source->client.now < source->retry_at)
		return;
	source->retry_at = 0;
	for (; topic != NULL; topic = topic->next)
	{
		for (int i = 0; i < topic->count; i++)
		{
			int64 retry_at = topic->readings[i].retry_at;

			if (retry_at == 0)
				continue;
			if (retry_at <= source->client.now)
				outbox_kafka_read(source, topic, i);
			else if (source->retry_at == 0 || retry_at < source->retry_at)
				source->retry_at = retry_at;
		}
	}
}

static void
kafka_close(OutboxSource *source)
{
	if (source->client.remains)
		source->client.remains->readings = source->readings;
	outbox_kafka_client_close(&source->client);
	MemoryContextDelete(source->context);
}

/* Raises an error as that of the sink does. */
static OutboxSource *
kafka_open(const OutboxSourceConfig *config, char *error)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox Kafka source", ALLOCSET_DEFAULT_SIZES);
	OutboxSource *source =
		MemoryContextAllocZero(context, sizeof(OutboxSource));

	source->context = context;
	source->group = MemoryContextStrdup(context, config->group);
	if (!outbox_kafka_client_open(&source->client, RD_KAFKA_CONSUMER,
								  outbox_kafka_source_conf(config, error),
								  config->wake_fd, error))
	{
		MemoryContextDelete(context);
		return NULL;
	}
	source->readings = outbox_kafka_readings_create();
	return source;
}

static void
kafka_ask_topic(OutboxSource *source, const char *name)
{
	OutboxKafkaReadTopic *topic =
		outbox_kafka_read_topic(source->readings, source->client.rk, name);

	if (topic == NULL || topic->asking)
		return;
	topic->asking = true;
	outbox_kafka_query_ask(source->client.query, name, -1, 0);
}

static void
kafka_ask_offset(OutboxSource *source, const char *name, int32 partition,
				 OutboxSourcePlace place, int64 time_ms)
{
	OutboxKafkaReadTopic *topic =
		outbox_kafka_read_topic(source->readings, source->client.rk, name);
	OutboxKafkaReading *reading;
	int64 time = Max(time_ms, 0);

	if (topic == NULL)
		return;
	reading = outbox_kafka_reading(topic, partition);
	if (reading->asking)
		return;
	reading->asking = true;
	if (place == OUTBOX_SOURCE_EARLIEST)
		time = RD_KAFKA_OFFSET_BEGINNING;
	else if (place == OUTBOX_SOURCE_LATEST)
		time = RD_KAFKA_OFFSET_END;
	outbox_kafka_query_ask(source->client.query, name, partition, time);
}

static void
kafka_start(OutboxSource *source, const char *name, int32 partition,
			int64 offset)
{
	OutboxKafkaReadTopic *topic =
		outbox_kafka_read_topic(source->readings, source->client.rk, name);
	OutboxKafkaReading *reading;

	if (topic == NULL)
		return;
	reading = outbox_kafka_reading(topic, partition);
	reading->wanted = true;
	reading->next = offset;
	outbox_kafka_read(source, topic, partition);
}

static void
kafka_stop(OutboxSource *source, const char *name, int32 partition)
{
	OutboxKafkaReading *reading =
		outbox_kafka_find_reading(source->readings, name, partition);

	if (reading == NULL || !reading->wanted)
		return;
	reading->wanted = false;
	outbox_kafka_halt(source->readings->last, partition);
}

static int64
kafka_end_offset(OutboxSource *source, const char *name, int32 partition)
{
	int64_t low;
	int64_t high;

	if (rd_kafka_get_watermark_offsets(source->client.rk, name, partition,
									   &low,
									   &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		high < 0)
		return -1;
	return high;
}

static const OutboxSourceApi kafka_api = {
	.interface = OUTBOX_SOURCE_INTERFACE,
	.words = outbox_kafka_words,
	.version = outbox_kafka_version,
	.is_same_message = outbox_kafka_is_same_message,
	.open = kafka_open,
	.ask_topic = kafka_ask_topic,
	.ask_offset = kafka_ask_offset,
	.start = kafka_start,
	.stop = kafka_stop,
	.poll = outbox_kafka_source_poll,
	.end_offset = kafka_end_offset,
	.tell = outbox_kafka_tell,
	.close = kafka_close,
	.has_ended = outbox_kafka_has_ended,
};

extern PGDLLEXPORT const OutboxSourceApi *outbox_source_api(void);

const OutboxSourceApi *
outbox_source_api(void)
{
	return &kafka_api;
}
