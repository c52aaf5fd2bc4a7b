/*-------------------------------------------------------------------------
 *
 * topics.c
 *	  Topics by name, their handles, and the partition of a key.
 *
 * librdkafka finds a topic by walking a list, for each record; with this table
 * the relay's cost does not depend on how many topics there are.
 *
 * The partition of a key depends on how many there are. We choose it, with the
 * function that librdkafka would have used, so that known.c can tell what each
 * of them has in flight. But only librdkafka knows the number, from metadata
 * that it needs anyway. It tells our partitioner, which it asks where the
 * first record of a topic goes. That may happen in one of its own threads,
 * where nothing of PostgreSQL is called; so what the two share is not memory
 * of PostgreSQL, and stays until the producer has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include "port/atomics.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* librdkafka frees a topic only when it ends; with so many, another sink
 * takes over, which knows no more than is in use */
#define TOPICS_MAX 20000

typedef int32_t (*Partitioner)(const rd_kafka_topic_t *topic, const void *key,
							   size_t key_bytes, int32_t count,
							   void *topic_opaque, void *opaque);

struct OutboxKafkaSensor
{
	OutboxKafkaSensor *next;
	OutboxKafkaTopic *topic;
	Partitioner partitioner;
	pg_atomic_uint32 count; /* of partitions, as librdkafka sees it */
};

struct OutboxKafkaTopics
{
	HTAB *table;
	OutboxKafkaTopic *last; /* a run of records often has one topic */
	OutboxKafkaSensor *sensors;
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
	HASHCTL ctl = {.keysize = sizeof(((OutboxKafkaTopic *) NULL)->name),
				   .entrysize = sizeof(OutboxKafkaTopic)};

	topics->partitioner = find_partitioner(partitioner);
	topics->table =
		hash_create("outbox topics", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	return topics;
}

/* Is there no room for another topic? */
bool
outbox_kafka_topics_full(OutboxKafkaTopics *topics)
{
	return hash_get_num_entries(topics->table) >= TOPICS_MAX;
}

/* Our partitioner, in any thread: notes how many partitions there are. */
static int32_t
choose(const rd_kafka_topic_t *handle, const void *key, size_t key_bytes,
	   int32_t count, void *topic_opaque, void *opaque)
{
	OutboxKafkaSensor *sensor = topic_opaque;

	pg_atomic_write_u32(&sensor->count, count);
	if (key == NULL)
		return rd_kafka_msg_partitioner_random(handle, key, key_bytes, count,
											   topic_opaque, opaque);
	return sensor->partitioner(handle, key, key_bytes, count, topic_opaque,
							   opaque);
}

/* librdkafka's handle of a topic; NULL if it refuses it */
static rd_kafka_topic_t *
make_handle(OutboxKafkaTopics *topics, rd_kafka_t *rk, OutboxKafkaTopic *topic)
{
	OutboxKafkaSensor *sensor = malloc(sizeof(OutboxKafkaSensor));
	rd_kafka_topic_conf_t *conf;

	if (sensor == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	sensor->topic = topic;
	sensor->partitioner = topics->partitioner;
	pg_atomic_init_u32(&sensor->count, 0);
	sensor->next = topics->sensors;
	topics->sensors = topic->sensor = sensor;

	conf = rd_kafka_default_topic_conf_dup(rk);
	rd_kafka_topic_conf_set_partitioner_cb(conf, choose);
	rd_kafka_topic_conf_set_opaque(conf, sensor);
	return rd_kafka_topic_new(rk, topic->name, conf);
}

/* The topic, made if it is new; NULL if librdkafka refuses it, or if there is
 * no room for another one */
OutboxKafkaTopic *
outbox_kafka_topic(OutboxKafkaTopics *topics, rd_kafka_t *rk, const char *name)
{
	OutboxKafkaTopic *topic = topics->last;

	if (topic != NULL && strcmp(topic->name, name) == 0)
		return topic;

	topic = hash_search(topics->table, name, HASH_FIND, NULL);
	if (topic == NULL)
	{
		if (outbox_kafka_topics_full(topics))
			return NULL;
		topic = hash_search(topics->table, name, HASH_ENTER, NULL);
		memset((char *) topic + sizeof(topic->name), 0,
			   sizeof(OutboxKafkaTopic) - sizeof(topic->name));
		topic->handle = make_handle(topics, rk, topic);
		if (topic->handle == NULL)
		{
			hash_search(topics->table, name, HASH_REMOVE, NULL);
			return NULL;
		}
	}
	topics->last = topic;
	return topic;
}

/* The topic of a handle that librdkafka hands out */
OutboxKafkaTopic *
outbox_kafka_topic_of(const rd_kafka_topic_t *handle)
{
	return ((OutboxKafkaSensor *) rd_kafka_topic_opaque(handle))->topic;
}

/* How many partitions librdkafka has last seen; 0 = it has not been asked */
int
outbox_kafka_seen(const OutboxKafkaTopic *topic)
{
	return (int) pg_atomic_read_u32(&topic->sensor->count);
}

/* The number of a key's partition, of a topic whose count is known */
int32
outbox_kafka_choose(const OutboxKafkaTopic *topic, const void *key,
					int key_bytes)
{
	return topic->sensor->partitioner(topic->handle, key, key_bytes,
									  topic->count, NULL, NULL);
}

/* Calls a function for each topic. */
void
outbox_kafka_topics_each(OutboxKafkaTopics *topics,
						 void (*call)(OutboxKafkaTopic *topic, void *arg),
						 void *arg)
{
	HASH_SEQ_STATUS it;
	OutboxKafkaTopic *topic;

	hash_seq_init(&it, topics->table);
	while ((topic = hash_seq_search(&it)) != NULL)
		call(topic, arg);
}

static void
destroy_handle(OutboxKafkaTopic *topic, void *arg)
{
	(void) arg;
	rd_kafka_topic_destroy(topic->handle);
}

/* Returns what is to be freed when the producer has ended. */
OutboxKafkaSensor *
outbox_kafka_topics_destroy(OutboxKafkaTopics *topics)
{
	OutboxKafkaSensor *sensors = topics->sensors;

	outbox_kafka_topics_each(topics, destroy_handle, NULL);
	hash_destroy(topics->table);
	pfree(topics);
	return sensors;
}

/* Frees that, in any thread. */
void
outbox_kafka_sensors_free(OutboxKafkaSensor *sensors)
{
	while (sensors != NULL)
	{
		OutboxKafkaSensor *next = sensors->next;

		free(sensors);
		sensors = next;
	}
}
