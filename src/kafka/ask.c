/*-------------------------------------------------------------------------
 *
 * ask.c
 *	  What the brokers are asked about topics, and what becomes of their
 *	  answers: whether something is wrong, if the relay wants to know, and how
 *	  many partitions there are, now and then, for a topic that is in use.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

static void
ask(OutboxSink *sink, OutboxKafkaTopic *topic)
{
	if (topic->asking)
		return;
	topic->asking = true;
	outbox_kafka_query_ask(sink->client.query, topic->name, -1, 0);
}

/* Asks about a topic; the answer is told to the relay. */
void
outbox_kafka_ask_topic(OutboxSink *sink, const char *name)
{
	OutboxKafkaTopic *topic =
		outbox_kafka_topic(sink->topics, sink->client.rk, name);

	if (topic == NULL)
		return;
	topic->telling = true;
	ask(sink, topic);
}

static void
ask_count(OutboxKafkaTopic *topic, void *arg)
{
	OutboxSink *sink = arg;

	if (topic->count > 0 &&
		sink->client.now - topic->last_result_at < sink->count_ms)
		ask(sink, topic);
}

/* Asks how many partitions the topics have, if it is time to. */
void
outbox_kafka_ask_counts(OutboxSink *sink)
{
	if (sink->client.now < sink->count_at)
		return;
	sink->count_at = sink->client.now + sink->count_ms;
	outbox_kafka_topics_each(sink->topics, ask_count, sink);
}

/* What an answer says about its topic; unless it is fine, with a failure and a
 * message (OUTBOX_SINK_ERROR_MAX). */
OutboxTopicState
outbox_kafka_topic_state(const OutboxKafkaQuestion *question,
						 OutboxFailure *failure, char *message)
{
	if (question->code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		*failure = outbox_kafka_failure(question->code);
		outbox_kafka_message(question->code, message);
		return *failure == OUTBOX_FAILURE_CLUSTER ? OUTBOX_TOPIC_SILENT
												  : OUTBOX_TOPIC_FAULTY;
	}
	if (question->leaderless >= 0)
	{
		*failure = OUTBOX_FAILURE_CLUSTER;
		snprintf(message, OUTBOX_SINK_ERROR_MAX,
				 "partition %d of topic \"%s\" has no leader",
				 question->leaderless, question->topic);
		return OUTBOX_TOPIC_LEADERLESS;
	}
	return OUTBOX_TOPIC_FINE;
}

/* Makes an event of an answer. */
static void
tell(OutboxSink *sink, const OutboxKafkaQuestion *question,
	 OutboxSinkEvent *event)
{
	event->type = OUTBOX_SINK_TOPIC;
	event->topic = question->topic;
	event->message = sink->client.message;
	event->state = outbox_kafka_topic_state(question, &event->failure,
											sink->client.message);
}

/*
 * Takes in the next answers, up to one that the relay wants to know, which
 * becomes the event. Returns whether there is one.
 */
bool
outbox_kafka_make_answer(OutboxSink *sink, OutboxSinkEvent *event)
{
	for (;;)
	{
		const OutboxKafkaQuestion *question;
		OutboxKafkaTopic *topic;
		bool telling;

		free(sink->client.question);
		question = sink->client.question =
			outbox_kafka_query_next(sink->client.query);
		if (question == NULL)
			return false;
		topic =
			outbox_kafka_topic(sink->topics, sink->client.rk, question->topic);
		telling = topic->telling;
		topic->asking = topic->telling = false;
		if (question->code == RD_KAFKA_RESP_ERR_NO_ERROR &&
			question->count > 0)
		{
			outbox_kafka_counted(sink, topic, question->count);
			outbox_kafka_release(sink, topic, OUTBOX_KAFKA_ALL);
		}
		if (!telling)
			continue;
		tell(sink, question, event);
		return true;
	}
}
