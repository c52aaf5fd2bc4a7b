/*-------------------------------------------------------------------------
 *
 * known.c
 *	  Which partitions know this producer, so that the next record may go.
 *
 * A broker refuses what is out of sequence, but only in a partition where it
 * knows this producer; where it does not, it takes any sequence number. So if
 * the first batch of a partition is refused, those that are in flight behind
 * it are not. Therefore nothing is in flight behind the first record of a
 * partition, until it has been acknowledged. Records without a key have no
 * order, and do not wait.
 *
 * Brokers forget producers: after producer.id.expiration.ms without a record
 * (a day, unless set otherwise), when a topic is deleted and created again,
 * when a replica is elected that had not caught up. So a partition is believed
 * to know us for KNOWN_MS after it has acknowledged something; then the next
 * record is a first one again. That costs nothing: it goes at once, unless
 * others are in flight.
 *
 * Until the first record of a topic has been acknowledged, all of its
 * partitions count as one: their number is not known. A number that has
 * changed is used as soon as no record with a key is in flight, so that none
 * of a key can overtake another by going to another partition.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include "utils/memutils.h"

#define KNOWN_MS 2000

/* The partition of a record with a key */
OutboxKafkaPartition *
outbox_kafka_partition(OutboxSink *sink, OutboxKafkaTopic *topic,
					   const OutboxRecord *record)
{
	/* it may have other partitions by now, and this is the time to look */
	if (topic->count > 0 && topic->in_flight == 0 && topic->held == 0 &&
		sink->client.now - topic->last_result_at > sink->count_ms)
		outbox_kafka_set_count(sink, topic, 0);
	if (topic->count == 0)
		return &topic->any;
	return &topic->partitions[outbox_kafka_choose(topic, record->key,
												  record->key_bytes)];
}

/* Its number, for librdkafka; it chooses while the count is not known. */
int32
outbox_kafka_partition_number(const OutboxKafkaTopic *topic,
							  const OutboxKafkaPartition *partition)
{
	if (topic->count == 0)
		return RD_KAFKA_PARTITION_UA;
	return (int32) (partition - topic->partitions);
}

/* May another record with a key be in flight there? */
bool
outbox_kafka_may_send(const OutboxSink *sink, const OutboxKafkaTopic *topic,
					  const OutboxKafkaPartition *partition)
{
	if (topic->next_count > 0)
		return false;
	return partition->in_flight == 0 ||
		   sink->client.now < partition->known_until;
}

/* The library has another record; partition is NULL if it has no key. */
void
outbox_kafka_sent(OutboxKafkaTopic *topic, OutboxKafkaPartition *partition)
{
	topic->in_flight++;
	if (partition == NULL)
		return;
	topic->keyed++;
	partition->in_flight++;
}

/*
 * From now on the topic has so many partitions; 0 = nobody knows. No record
 * with a key is in flight. Those that are held go with their keys.
 */
void
outbox_kafka_set_count(OutboxSink *sink, OutboxKafkaTopic *topic, int count)
{
	OutboxKafkaQueue held = topic->any.held;
	OutboxKafkaHeld *next;

	Assert(topic->keyed == 0);
	for (int i = 0; i < topic->count; i++)
		outbox_kafka_append(&held, &topic->partitions[i].held);
	if (topic->partitions != NULL)
		pfree(topic->partitions);
	topic->partitions = NULL;
	memset(&topic->any, 0, sizeof(topic->any));
	topic->count = count;
	topic->next_count = 0;
	if (count == 0)
	{
		topic->any.held = held;
		return;
	}

	topic->partitions = MemoryContextAllocExtended(
		sink->context, count * sizeof(OutboxKafkaPartition), MCXT_ALLOC_ZERO);
	for (OutboxKafkaHeld *one = held.first; one != NULL; one = next)
	{
		int32 number =
			outbox_kafka_choose(topic, one->record.key, one->record.key_bytes);
		OutboxKafkaQueue alone = {one, one};

		next = one->next;
		one->next = NULL;
		outbox_kafka_append(&topic->partitions[number].held, &alone);
	}
}

/*
 * A partition has acknowledged a record. Offsets that go back are those of
 * another topic of that name, or of a replica that has lost records; then what
 * was known of the topic's other partitions is nothing any more.
 */
static void
learn(OutboxSink *sink, OutboxKafkaTopic *topic, int32 number, int64 offset)
{
	OutboxKafkaPartition *partition = &topic->partitions[number];

	if (offset >= 0)
	{
		if (offset < partition->next_offset)
		{
			for (int i = 0; i < topic->count; i++)
				topic->partitions[i].known_until =
					topic->partitions[i].next_offset = 0;
		}
		partition->next_offset = offset + 1;
	}
	partition->known_until = sink->client.now + KNOWN_MS;
}

/*
 * The library has an answer for a record. Returns the partition of which a
 * held record may go now, or one of OUTBOX_KAFKA_ALL and OUTBOX_KAFKA_NONE.
 */
int32
outbox_kafka_answered(OutboxSink *sink, OutboxKafkaTopic *topic,
					  const rd_kafka_message_t *message)
{
	bool delivered = (message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
	int32 number = message->partition;
	OutboxKafkaPartition *partition = &topic->any;

	topic->in_flight--;
	topic->last_result_at = sink->client.now;
	if (topic->count > 0 && number >= 0 && number < topic->count)
		partition = &topic->partitions[number];
	if (message->key == NULL || sink->keys_once)
	{
		/* one that is behind a first record tells nothing of it */
		if (delivered && partition != &topic->any && partition->in_flight == 0)
			learn(sink, topic, number, message->offset);
		return OUTBOX_KAFKA_NONE;
	}

	topic->keyed--;
	partition->in_flight--;
	if (!delivered)
		partition->known_until = 0;
	else
	{
		if (topic->count == 0)
		{
			outbox_kafka_set_count(sink, topic, outbox_kafka_seen(topic));
			partition = NULL;
		}
		if (number < topic->count)
			learn(sink, topic, number, message->offset);
	}
	if (topic->next_count > 0 && topic->keyed == 0)
	{
		outbox_kafka_set_count(sink, topic, topic->next_count);
		partition = NULL;
	}
	return partition == NULL ? OUTBOX_KAFKA_ALL : number;
}

/* The brokers say how many partitions a topic has. */
void
outbox_kafka_counted(OutboxSink *sink, OutboxKafkaTopic *topic, int count)
{
	if (topic->count == 0)
		return;
	topic->next_count = (count == topic->count) ? 0 : count;
	if (topic->next_count > 0 && topic->keyed == 0)
		outbox_kafka_set_count(sink, topic, count);
}
