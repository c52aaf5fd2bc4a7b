/*-------------------------------------------------------------------------
 *
 * readings.c
 *	  The partitions that a consumer reads, by topic and number.
 *
 * All of it is malloc'ed: it is freed in the thread in which the consumer ends,
 * because the library waits there for each partition to stop. There are few
 * topics, and so a list will do.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

static void *
checked(void *memory)
{
	if (memory == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return memory;
}

/* Raises an error when out of memory, as do those that make something new. */
OutboxKafkaReadings *
outbox_kafka_readings_create(void)
{
	return checked(calloc(1, sizeof(OutboxKafkaReadings)));
}

static OutboxKafkaReadTopic *
find_topic(OutboxKafkaReadings *readings, const char *name)
{
	OutboxKafkaReadTopic *topic = readings->last;

	if (topic != NULL && strcmp(topic->name, name) == 0)
		return topic;
	for (topic = readings->topics; topic != NULL; topic = topic->next)
	{
		if (strcmp(topic->name, name) == 0)
			return readings->last = topic;
	}
	return NULL;
}

/* The topic, made if it is new; NULL if the library refuses it */
OutboxKafkaReadTopic *
outbox_kafka_read_topic(OutboxKafkaReadings *readings, rd_kafka_t *rk,
						const char *name)
{
	OutboxKafkaReadTopic *topic = find_topic(readings, name);

	if (topic != NULL)
		return topic;
	topic = checked(calloc(1, sizeof(OutboxKafkaReadTopic)));
	strlcpy(topic->name, name, sizeof(topic->name));
	topic->handle = rd_kafka_topic_new(rk, name, NULL);
	if (topic->handle == NULL)
	{
		free(topic);
		return NULL;
	}
	topic->next = readings->topics;
	readings->topics = topic;
	return topic;
}

/* One of its partitions; valid until the next call */
OutboxKafkaReading *
outbox_kafka_reading(OutboxKafkaReadTopic *topic, int32 partition)
{
	if (partition >= topic->count)
	{
		int count = Max(partition + 1, topic->count * 2);

		topic->readings = checked(
			realloc(topic->readings, count * sizeof(OutboxKafkaReading)));
		memset(topic->readings + topic->count, 0,
			   (count - topic->count) * sizeof(OutboxKafkaReading));
		for (int i = topic->count; i < count; i++)
			topic->readings[i].done = -1;
		topic->count = count;
	}
	return &topic->readings[partition];
}

/* The same; NULL if there has been nothing about it */
OutboxKafkaReading *
outbox_kafka_find_reading(OutboxKafkaReadings *readings, const char *topic,
						  int32 partition)
{
	OutboxKafkaReadTopic *found = find_topic(readings, topic);

	if (found == NULL || partition < 0 || partition >= found->count)
		return NULL;
	return &found->readings[partition];
}

/* Stops them all, and waits for each; in any thread. */
void
outbox_kafka_readings_free(OutboxKafkaReadings *readings)
{
	OutboxKafkaReadTopic *next;

	if (readings == NULL)
		return;
	for (OutboxKafkaReadTopic *topic = readings->topics; topic; topic = next)
	{
		next = topic->next;
		for (int i = 0; i < topic->count; i++)
		{
			if (topic->readings[i].running)
				rd_kafka_consume_stop(topic->handle, i);
		}
		rd_kafka_topic_destroy(topic->handle);
		free(topic->readings);
		free(topic);
	}
	free(readings);
}
