/*-------------------------------------------------------------------------
 *
 * topics.c
 *	  Topic handles by name. librdkafka finds a topic by walking a list, for
 *	  each record; with this table the relay's cost does not depend on how
 *	  many topics there are.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka.h"

#include "../outbox.h"
#include "utils/hsearch.h"

typedef struct TopicEntry
{
	char name[OUTBOX_TOPIC_MAX + 1];
	rd_kafka_topic_t *handle;
} TopicEntry;

struct OutboxKafkaTopics
{
	HTAB *table;
	TopicEntry *last; /* a run of records often has one topic */
};

/* Raises an error when out of memory, as does the next function. */
OutboxKafkaTopics *
outbox_kafka_topics_create(void)
{
	OutboxKafkaTopics *topics = palloc0(sizeof(OutboxKafkaTopics));
	HASHCTL ctl = {.keysize = sizeof(((TopicEntry *) NULL)->name),
				   .entrysize = sizeof(TopicEntry)};

	topics->table =
		hash_create("outbox topics", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	return topics;
}

/* The handle of a topic, made if it is new; NULL if librdkafka refuses it. */
rd_kafka_topic_t *
outbox_kafka_topics_get(OutboxKafkaTopics *topics, rd_kafka_t *rk,
						const char *name)
{
	TopicEntry *entry = topics->last;
	bool found;

	if (entry != NULL && strcmp(entry->name, name) == 0)
		return entry->handle;

	entry = hash_search(topics->table, name, HASH_ENTER, &found);
	if (!found)
	{
		entry->handle = rd_kafka_topic_new(rk, name, NULL);
		if (entry->handle == NULL)
		{
			hash_search(topics->table, name, HASH_REMOVE, NULL);
			return NULL;
		}
	}
	topics->last = entry;
	return entry->handle;
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
	pfree(topics);
}
