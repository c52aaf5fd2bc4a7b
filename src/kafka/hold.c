/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Records that wait until another one has its answer, and those that come
 *	  back without having been sent.
 *
 * The sink keeps a copy of a record that may not go yet, behind those of its
 * partition that wait, too. When the partition has acknowledged its first
 * record, they go, in their order. So that many topics begin at the same time
 * costs no more than one of them. How much is held is limited by the relay's
 * window.
 *
 * If the topic fails, or the producer, those that are held come back; those of
 * a topic only when the library has given back all that it has of it, because
 * these are the older ones.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <unistd.h>

#include "utils/memutils.h"

/* Copies bytes to *end, which moves; NULL remains NULL. */
static const char *
put(char **end, const char *bytes, int count)
{
	char *copy = *end;

	if (bytes == NULL)
		return NULL;
	memcpy(copy, bytes, count);
	*end += count;
	return copy;
}

/* A copy in one piece */
static OutboxKafkaHeld *
copy(OutboxSink *sink, const OutboxRecord *record)
{
	Size headers_bytes = record->header_count * sizeof(OutboxHeader);
	Size bytes = MAXALIGN(sizeof(OutboxKafkaHeld)) + headers_bytes +
				 record->key_bytes + record->payload_bytes;
	OutboxKafkaHeld *held;
	OutboxHeader *headers;
	char *end;

	for (int i = 0; i < record->header_count; i++)
		bytes +=
			record->headers[i].name_bytes +
			(record->headers[i].value ? record->headers[i].value_bytes : 0);
	held = MemoryContextAllocHuge(sink->context, bytes);
	headers =
		(OutboxHeader *) ((char *) held + MAXALIGN(sizeof(OutboxKafkaHeld)));
	end = (char *) headers + headers_bytes;

	held->record = *record;
	held->record.topic = NULL;
	held->record.key = put(&end, record->key, record->key_bytes);
	held->record.payload = put(&end, record->payload, record->payload_bytes);
	held->record.headers = headers;
	for (int i = 0; i < record->header_count; i++)
	{
		const OutboxHeader *header = &record->headers[i];

		headers[i] = *header;
		headers[i].name = put(&end, header->name, header->name_bytes);
		headers[i].value = put(&end, header->value, header->value_bytes);
	}
	return held;
}

/* Keeps a copy of a record until the partition may have another one. */
void
outbox_kafka_hold(OutboxSink *sink, OutboxKafkaTopic *topic,
				  OutboxKafkaPartition *partition, const OutboxRecord *record)
{
	OutboxKafkaHeld *held = copy(sink, record);

	held->topic = topic;
	held->code = RD_KAFKA_RESP_ERR_NO_ERROR;
	outbox_kafka_push(&partition->held, held);
	topic->held++;
	sink->held_count++;
}

/* Makes the relay look for what comes back. */
static void
wake(OutboxSink *sink)
{
	/* if the pipe is full, it will look anyway */
	ssize_t rc = write(sink->client.wake_fd, "", 1);

	(void) rc;
}

/* All of a queue come back, for that reason. */
static void
give_back(OutboxSink *sink, OutboxKafkaQueue *queue, rd_kafka_resp_err_t code)
{
	while (queue->first != NULL)
	{
		OutboxKafkaHeld *held = outbox_kafka_pop(queue);

		sink->held_count--;
		held->code = code;
		outbox_kafka_push(&sink->returning, held);
	}
}

static void
give_back_topic(OutboxSink *sink, OutboxKafkaTopic *topic,
				rd_kafka_resp_err_t code)
{
	if (topic->held == 0)
		return;
	give_back(sink, &topic->any.held, code);
	for (int i = 0; i < topic->count; i++)
		give_back(sink, &topic->partitions[i].held, code);
	wake(sink);
}

static void
purge_topic(OutboxKafkaTopic *topic, void *sink)
{
	give_back_topic(sink, topic, RD_KAFKA_RESP_ERR__PURGE_QUEUE);
}

/* Nothing more is published by this sink: all that is held comes back. */
void
outbox_kafka_stop(OutboxSink *sink)
{
	sink->ended = true;
	if (sink->held_count > 0)
		outbox_kafka_topics_each(sink->topics, purge_topic, sink);
}

/* Once all records of a topic that has failed are back, it is as new. */
static void
forget_failure(OutboxSink *sink, OutboxKafkaTopic *topic)
{
	if (topic->failed == RD_KAFKA_RESP_ERR_NO_ERROR || topic->in_flight > 0 ||
		topic->held > 0)
		return;
	topic->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
	outbox_kafka_set_count(sink, topic, 0);
}

/* Goes on with a topic that has failed. */
static void
end_failed(OutboxSink *sink, OutboxKafkaTopic *topic)
{
	if (topic->in_flight > 0)
		return;
	give_back_topic(sink, topic, topic->failed);
	forget_failure(sink, topic);
}

/* A record has failed because of its topic: so do the others. */
void
outbox_kafka_topic_failed(OutboxSink *sink, OutboxKafkaTopic *topic,
						  rd_kafka_resp_err_t code)
{
	if (topic->failed == RD_KAFKA_RESP_ERR_NO_ERROR)
		topic->failed = code;
	end_failed(sink, topic);
}

/* The library refuses a held record, the first one of a queue. */
static void
refused(OutboxSink *sink, OutboxKafkaTopic *topic, OutboxKafkaQueue *queue,
		rd_kafka_resp_err_t code)
{
	OutboxKafkaHeld *held;

	if (outbox_kafka_failure(code) == OUTBOX_FAILURE_TOPIC)
	{
		outbox_kafka_topic_failed(sink, topic, code);
		return;
	}
	if (code != RD_KAFKA_RESP_ERR__FATAL)
	{
		held = outbox_kafka_pop(queue);
		sink->held_count--;
		held->code = code;
		outbox_kafka_push(&sink->returning, held);
		wake(sink);
	}
	/* nothing of its key may overtake it */
	outbox_kafka_stop(sink);
}

/* Hands over what one queue holds, as far as that may go. */
static void
release(OutboxSink *sink, OutboxKafkaTopic *topic,
		OutboxKafkaPartition *partition)
{
	while (partition->held.first != NULL && !sink->ended &&
		   topic->failed == RD_KAFKA_RESP_ERR_NO_ERROR &&
		   outbox_kafka_may_send(sink, topic, partition))
	{
		rd_kafka_resp_err_t code = outbox_kafka_produce(
			sink, topic, partition, &partition->held.first->record);

		if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		{
			sink->stalled = true;
			return;
		}
		if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			refused(sink, topic, &partition->held, code);
			return;
		}
		pfree(outbox_kafka_pop(&partition->held));
		topic->held--;
		sink->held_count--;
	}
}

/*
 * Hands over what is held for a partition, which may also be
 * OUTBOX_KAFKA_ALL or OUTBOX_KAFKA_NONE.
 */
void
outbox_kafka_release(OutboxSink *sink, OutboxKafkaTopic *topic, int32 number)
{
	if (topic->failed != RD_KAFKA_RESP_ERR_NO_ERROR)
		end_failed(sink, topic);
	if (topic->held == 0 || number == OUTBOX_KAFKA_NONE)
		return;
	if (topic->count == 0)
		release(sink, topic, &topic->any);
	else if (number != OUTBOX_KAFKA_ALL)
		release(sink, topic, &topic->partitions[number]);
	else
	{
		for (int i = 0; i < topic->count; i++)
			release(sink, topic, &topic->partitions[i]);
	}
}

static void
release_topic(OutboxKafkaTopic *topic, void *sink)
{
	outbox_kafka_release(sink, topic, OUTBOX_KAFKA_ALL);
}

/* The library may have room again. */
void
outbox_kafka_release_stalled(OutboxSink *sink)
{
	if (!sink->stalled)
		return;
	sink->stalled = false;
	outbox_kafka_topics_each(sink->topics, release_topic, sink);
}

/* The next record that comes back, valid until the next call; or NULL */
OutboxKafkaHeld *
outbox_kafka_next_returned(OutboxSink *sink)
{
	OutboxKafkaHeld *held = sink->returned;

	if (held != NULL)
	{
		held->topic->held--;
		forget_failure(sink, held->topic);
		pfree(held);
		sink->returned = NULL;
	}
	if (sink->returning.first != NULL)
		sink->returned = outbox_kafka_pop(&sink->returning);
	return sink->returned;
}
