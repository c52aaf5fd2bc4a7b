/*-------------------------------------------------------------------------
 *
 * tell.c
 *	  Tells the brokers how far a consumer is, for tools that show lag.
 *
 * The consumer is a member of no group: offsets are set as an administrator
 * would, for a group that nobody is in. One request at a time has all that has
 * come meanwhile. That it is refused is a matter for debugging only: nothing
 * rests on it.
 *
 * If such a request has waited for its coordinator until its time was over, and
 * then there is one, the library uses what it has freed, and ends the process
 * (rd_kafka_admin_coord_request() in all of its versions so far). So a request
 * has all the time that can be had, and when most of that is over, the client
 * is to be closed, which ends it well.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <syslog.h>

/* how long the coordinator has to answer: as long as the library allows for */
#define ANSWER_MS  3600000

/* how long that is waited for */
#define GIVE_UP_MS 3000000

/* Notes an offset, which is sent with the next poll. */
void
outbox_kafka_tell(OutboxSource *source, const char *topic, int32 partition,
				  int64 next_offset)
{
	OutboxKafkaReading *reading =
		outbox_kafka_find_reading(source->readings, topic, partition);

	if (reading == NULL || next_offset < 0)
		return;
	reading->done = next_offset;
	source->has_done = true;
}

/* Takes out what has been noted. */
static rd_kafka_topic_partition_list_t *
take_done(OutboxKafkaReadings *readings)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new(16);

	for (OutboxKafkaReadTopic *topic = readings->topics; topic;
		 topic = topic->next)
	{
		for (int i = 0; i < topic->count; i++)
		{
			OutboxKafkaReading *reading = &topic->readings[i];

			if (reading->done < 0)
				continue;
			rd_kafka_topic_partition_list_add(list, topic->name, i)->offset =
				reading->done;
			reading->done = -1;
		}
	}
	return list;
}

/* Sends what has been noted, unless something is on its way. */
void
outbox_kafka_tell_pending(OutboxSource *source)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_AlterConsumerGroupOffsets_t *request;
	rd_kafka_AdminOptions_t *options;

	if (!source->has_done || source->telling)
		return;
	source->has_done = false;
	source->telling = true;
	source->telling_since = source->client.now;
	list = take_done(source->readings);
	request = rd_kafka_AlterConsumerGroupOffsets_new(source->group, list);
	options = rd_kafka_AdminOptions_new(
		source->client.rk, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
	(void) rd_kafka_AdminOptions_set_request_timeout(options, ANSWER_MS, NULL,
													 0);
	rd_kafka_AlterConsumerGroupOffsets(source->client.rk, &request, 1, options,
									   source->client.queue);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_AlterConsumerGroupOffsets_destroy(request);
	rd_kafka_topic_partition_list_destroy(list);
}

/* Has the coordinator not been there for so long that another client must go
 * on? */
bool
outbox_kafka_tell_is_stuck(const OutboxSource *source)
{
	return source->telling &&
		   source->client.now - source->telling_since >= GIVE_UP_MS;
}

/* The first error in an answer; NULL if there is none */
static const char *
find_error(rd_kafka_event_t *answer)
{
	const rd_kafka_group_result_t **groups;
	const rd_kafka_topic_partition_list_t *list;
	size_t count;

	if (rd_kafka_event_error(answer) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return rd_kafka_event_error_string(answer);
	groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
		rd_kafka_event_AlterConsumerGroupOffsets_result(answer), &count);
	if (count == 0)
		return NULL;
	if (rd_kafka_group_result_error(groups[0]) != NULL)
		return rd_kafka_error_string(rd_kafka_group_result_error(groups[0]));
	list = rd_kafka_group_result_partitions(groups[0]);
	for (int i = 0; list != NULL && i < list->cnt; i++)
	{
		if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return rd_kafka_err2str(list->elems[i].err);
	}
	return NULL;
}

/* The current event is the answer: if it is a refusal, for who debugs. */
bool
outbox_kafka_told(OutboxSource *source, OutboxSourceEvent *event)
{
	const char *error = find_error(source->client.event);

	source->telling = false;
	if (error == NULL)
		return false;
	snprintf(source->client.message, sizeof(source->client.message),
			 "offsets of group \"%s\" cannot be set: %s", source->group,
			 error);
	event->type = OUTBOX_SOURCE_LOG;
	event->log_level = LOG_DEBUG;
	event->message = source->client.message;
	return true;
}
