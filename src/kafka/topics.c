/*-------------------------------------------------------------------------
 *
 * topics.c
 *	  Topic handles by name, and which of their partitions know us.
 *
 * librdkafka finds a topic by walking a list, for each record; with this table
 * the relay's cost does not depend on how many topics there are.
 *
 * A broker refuses what is out of sequence, but only in a partition in which
 * it has accepted something of this producer before; where it has not, it
 * takes any sequence number. So if the first batch of a partition is refused,
 * those that are in flight behind it are not. Therefore nothing is in flight
 * behind the first record of a partition, until it has been acknowledged.
 * Records without a key have no order, and do not wait.
 *
 * How many partitions a topic has is asked when its first record has been
 * acknowledged; until then, it counts as one.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka.h"

#include "../outbox.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* how long brokers that have just answered are waited for */
#define COUNT_MS 1000

/* What a partition knows of this producer */
typedef enum PartitionState
{
	PARTITION_NEW,
	PARTITION_FIRST, /* the first record has no answer yet */
	PARTITION_KNOWN, /* it checks sequence numbers */
} PartitionState;

typedef struct TopicEntry
{
	char name[OUTBOX_TOPIC_MAX + 1];
	rd_kafka_topic_t *handle;
	int count;             /* of partitions; 0 = not known yet */
	int known;             /* of these, how many are KNOWN */
	PartitionState first;  /* as long as count is 0 */
	PartitionState *state; /* of each partition */
} TopicEntry;

typedef int32_t (*Partitioner)(const rd_kafka_topic_t *topic, const void *key,
							   size_t key_bytes, int32_t count,
							   void *topic_opaque, void *opaque);

struct OutboxKafkaTopics
{
	MemoryContext context;
	HTAB *table;
	TopicEntry *last; /* a run of records often has one topic */
	Partitioner partitioner;
};

/* The function of librdkafka that chooses the partition of a key */
static Partitioner
find_partitioner(const char *name)
{
	if (strncmp(name, "consistent", strlen("consistent")) == 0)
		return rd_kafka_msg_partitioner_consistent;
	if (strncmp(name, "fnv1a", strlen("fnv1a")) == 0)
		return rd_kafka_msg_partitioner_fnv1a;
	return rd_kafka_msg_partitioner_murmur2;
}

/*
 * partitioner is the name of librdkafka's. Raises an error when out of memory,
 * as do the others.
 */
OutboxKafkaTopics *
outbox_kafka_topics_create(const char *partitioner)
{
	OutboxKafkaTopics *topics = palloc0(sizeof(OutboxKafkaTopics));
	HASHCTL ctl = {.keysize = sizeof(((TopicEntry *) NULL)->name),
				   .entrysize = sizeof(TopicEntry)};

	topics->partitioner = find_partitioner(partitioner);
	topics->context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox topics", ALLOCSET_DEFAULT_SIZES);
	topics->table =
		hash_create("outbox topics", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	return topics;
}

/* The topic, made if it is new; NULL if librdkafka refuses it */
static TopicEntry *
find(OutboxKafkaTopics *topics, rd_kafka_t *rk, const char *name)
{
	TopicEntry *entry = topics->last;
	bool found;

	if (entry != NULL && strcmp(entry->name, name) == 0)
		return entry;

	entry = hash_search(topics->table, name, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) entry + sizeof(entry->name), 0,
			   sizeof(TopicEntry) - sizeof(entry->name));
		entry->handle = rd_kafka_topic_new(rk, name, NULL);
		if (entry->handle == NULL)
		{
			hash_search(topics->table, name, HASH_REMOVE, NULL);
			return NULL;
		}
	}
	topics->last = entry;
	return entry;
}

rd_kafka_topic_t *
outbox_kafka_topics_get(OutboxKafkaTopics *topics, rd_kafka_t *rk,
						const char *name)
{
	TopicEntry *entry = find(topics, rk, name);

	return entry ? entry->handle : NULL;
}

static PartitionState *
state_of(OutboxKafkaTopics *topics, TopicEntry *entry, const void *key,
		 size_t key_bytes)
{
	if (entry->count == 0)
		return &entry->first;
	return &entry->state[topics->partitioner(entry->handle, key, key_bytes,
											 entry->count, NULL, NULL)];
}

/* Must a record with a key wait for the answer to the first one? */
bool
outbox_kafka_topics_must_wait(OutboxKafkaTopics *topics, const char *name,
							  const void *key, size_t key_bytes)
{
	TopicEntry *entry = find(topics, NULL, name);

	if (entry->count > 0 && entry->known == entry->count)
		return false;
	return *state_of(topics, entry, key, key_bytes) == PARTITION_FIRST;
}

/* A record with a key has been handed over. */
void
outbox_kafka_topics_sent(OutboxKafkaTopics *topics, const char *name,
						 const void *key, size_t key_bytes)
{
	TopicEntry *entry = find(topics, NULL, name);
	PartitionState *state;

	if (entry->count > 0 && entry->known == entry->count)
		return;
	state = state_of(topics, entry, key, key_bytes);
	if (*state == PARTITION_NEW)
		*state = PARTITION_FIRST;
}

/* How many partitions the topic has; 0 if the brokers do not say it at once */
static int
ask_count(rd_kafka_t *rk, rd_kafka_topic_t *handle)
{
	const struct rd_kafka_metadata *metadata;
	int count = 0;

	if (rd_kafka_metadata(rk, 0, handle, &metadata, COUNT_MS) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	if (metadata->topic_cnt == 1)
		count = metadata->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(metadata);
	return count;
}

/* A record with a key has got its answer. */
void
outbox_kafka_topics_answered(OutboxKafkaTopics *topics, rd_kafka_t *rk,
							 const char *name, const void *key,
							 size_t key_bytes, bool delivered)
{
	TopicEntry *entry = find(topics, rk, name);
	PartitionState *state;

	if (entry == NULL || (entry->count > 0 && entry->known == entry->count))
		return;
	if (entry->count == 0)
	{
		entry->first = PARTITION_NEW;
		if (!delivered)
			return;
		entry->count = ask_count(rk, entry->handle);
		if (entry->count == 0)
			return;
		entry->state = MemoryContextAllocZero(
			topics->context, entry->count * sizeof(PartitionState));
	}
	state = state_of(topics, entry, key, key_bytes);
	if (*state == PARTITION_KNOWN)
		return;
	*state = delivered ? PARTITION_KNOWN : PARTITION_NEW;
	entry->known += delivered;
}

void
outbox_kafka_topics_destroy(OutboxKafkaTopics *topics)
{
	HASH_SEQ_STATUS it;
	TopicEntry *entry;

	hash_seq_init(&it, topics->table);
	while ((entry = hash_seq_search(&it)) != NULL)
		rd_kafka_topic_destroy(entry->handle);
	hash_destroy(topics->table);
	MemoryContextDelete(topics->context);
	pfree(topics);
}
