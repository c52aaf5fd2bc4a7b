/*-------------------------------------------------------------------------
 *
 * consumer_poll.c
 *	  What the source tells the subscriber: messages, the ends of partitions,
 *	  errors and log lines of the library, and answers.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <syslog.h>

#include "utils/memutils.h"

/* a message with so many headers leaves no room behind */
#define HEADERS_KEPT 1000

/* The event is about a partition. */
static void
set_place(OutboxSourceEvent *event, const OutboxKafkaReadTopic *topic,
		  int32 partition, int64 offset)
{
	event->topic = topic->name;
	event->partition = partition;
	event->offset = offset;
}

/* Do the brokers not have that topic, or partition? */
static bool
is_missing(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		   code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
		   code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

/*
 * Something is wrong with a partition. Unless the topic is refused, what the
 * library has behind that must not be told. It begins again in a while; or, if
 * there is no such partition, when there is one: it may be another one then.
 */
static void
make_trouble(OutboxSource *source, OutboxKafkaReadTopic *topic,
			 int32 partition, rd_kafka_resp_err_t code, const char *message,
			 OutboxSourceEvent *event)
{
	OutboxKafkaReading *reading = &topic->readings[partition];

	set_place(event, topic, partition, reading->next);
	event->type = OUTBOX_SOURCE_TROUBLED;
	event->failure = outbox_kafka_failure(code);
	/* to a consumer, what is in the broker's file */
	if (code == RD_KAFKA_RESP_ERR__BAD_MSG)
		event->failure = OUTBOX_FAILURE_EVENT;
	if (is_missing(code))
	{
		outbox_kafka_halt(topic, partition);
		reading->missing = true;
	}
	else if (event->failure != OUTBOX_FAILURE_TOPIC)
		outbox_kafka_read_later(source, topic, partition);
	snprintf(source->client.message, sizeof(source->client.message), "%s (%s)",
			 message, rd_kafka_err2name(code));
	event->message = source->client.message;
}

/* Takes over the headers; an error of the library if they are none. */
static rd_kafka_resp_err_t
take_headers(OutboxSource *source, const rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t code = rd_kafka_message_headers(message, &headers);
	int count;

	source->data.header_count = 0;
	if (code == RD_KAFKA_RESP_ERR__NOENT)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return code;
	count = (int) rd_kafka_header_cnt(headers);
	if (count > source->header_room ||
		(source->header_room > HEADERS_KEPT && count <= HEADERS_KEPT))
	{
		if (source->headers != NULL)
			pfree(source->headers);
		source->headers = NULL;
		source->header_room = 0;
		source->headers = MemoryContextAllocHuge(
			source->context, Max(count, 16) * sizeof(OutboxHeader));
		source->header_room = Max(count, 16);
	}
	for (int i = 0; i < count; i++)
	{
		OutboxHeader *header = &source->headers[i];
		const void *value;
		size_t value_bytes;

		code = rd_kafka_header_get_all(headers, i, &header->name, &value,
									   &value_bytes);
		if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
			return code;
		header->name_bytes = (int) strlen(header->name);
		header->value = value;
		header->value_bytes = (int) value_bytes;
	}
	source->data.headers = source->headers;
	source->data.header_count = count;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A message; false if nobody wants it (any more). */
static bool
make_message(OutboxSource *source, const rd_kafka_message_t *message,
			 OutboxSourceEvent *event)
{
	const char *name = rd_kafka_topic_name(message->rkt);
	OutboxKafkaReading *reading =
		outbox_kafka_find_reading(source->readings, name, message->partition);
	OutboxKafkaReadTopic *topic = source->readings->last;
	rd_kafka_timestamp_type_t type;
	rd_kafka_resp_err_t code;

	source->client.got_on = source->client.served = true;
	if (reading == NULL || !reading->wanted || message->offset < reading->next)
		return false;
	code = take_headers(source, message);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		make_trouble(source, topic, message->partition, code,
					 "the headers of a message cannot be read", event);
		return true;
	}
	reading->next = message->offset + 1;
	source->data.offset = message->offset;
	source->data.timestamp_ms = rd_kafka_message_timestamp(message, &type);
	if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
		source->data.timestamp_ms = -1;
	source->data.key = message->key;
	source->data.key_bytes = message->key_len;
	source->data.payload = message->payload;
	source->data.payload_bytes = message->len;
	set_place(event, topic, message->partition, message->offset);
	event->type = OUTBOX_SOURCE_MESSAGE;
	event->data = &source->data;
	return true;
}

/* The offset at which it would go on is not there. */
static bool
make_out_of_range(OutboxSource *source, OutboxKafkaReadTopic *topic,
				  int32 partition, int64 offset, OutboxSourceEvent *event)
{
	OutboxKafkaReading *reading = &topic->readings[partition];

	/* of what it read before it was started anew; or messages of nobody lie
	 * between: the library has stopped, and is asked again from our offset */
	if (offset != reading->next)
	{
		outbox_kafka_read(source, topic, partition);
		return false;
	}
	reading->wanted = false;
	outbox_kafka_halt(topic, partition);
	set_place(event, topic, partition, offset);
	event->type = OUTBOX_SOURCE_OUT_OF_RANGE;
	event->message = rd_kafka_event_error_string(source->client.event);
	return true;
}

/* An error, or the end, of one partition; false if it does not matter. */
static bool
make_partition_error(OutboxSource *source,
					 const rd_kafka_topic_partition_t *where,
					 OutboxSourceEvent *event)
{
	OutboxKafkaReading *reading = outbox_kafka_find_reading(
		source->readings, where->topic, where->partition);
	OutboxKafkaReadTopic *topic = source->readings->last;
	rd_kafka_resp_err_t code = rd_kafka_event_error(source->client.event);

	if (reading == NULL || !reading->wanted)
		return false;
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			source->client.got_on = source->client.served = true;
			reading->next = Max(reading->next, where->offset);
			set_place(event, topic, where->partition, where->offset);
			event->type = OUTBOX_SOURCE_END;
			return true;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			return make_out_of_range(source, topic, where->partition,
									 where->offset, event);
		default:
			make_trouble(source, topic, where->partition, code,
						 rd_kafka_event_error_string(source->client.event),
						 event);
			return true;
	}
}

/* What the library says of itself and the brokers */
static void
make_news(const OutboxKafkaReport *report, OutboxSourceEvent *event)
{
	static const OutboxSourceEventType types[] = {
		[OUTBOX_KAFKA_LOST] = OUTBOX_SOURCE_LOST,
		[OUTBOX_KAFKA_UNREACHABLE] = OUTBOX_SOURCE_UNREACHABLE,
		[OUTBOX_KAFKA_FATAL] = OUTBOX_SOURCE_FATAL,
		[OUTBOX_KAFKA_LOG] = OUTBOX_SOURCE_LOG,
	};

	event->type = types[report->news];
	event->failure = report->failure;
	event->trouble = report->trouble;
	event->log_level = report->log_level;
	event->message = report->message;
}

static bool
make_error(OutboxSource *source, OutboxSourceEvent *event)
{
	rd_kafka_topic_partition_t *where =
		rd_kafka_event_topic_partition(source->client.event);
	OutboxKafkaReport report;
	bool matters = true;

	if (where != NULL)
	{
		matters = make_partition_error(source, where, event);
		rd_kafka_topic_partition_destroy(where);
		return matters;
	}
	outbox_kafka_report_error(&source->client, &report);
	make_news(&report, event);
	return true;
}

/* Makes the library's event one of ours; false if it does not matter. */
static bool
make_event(OutboxSource *source, OutboxSourceEvent *event)
{
	OutboxKafkaReport report;
	const rd_kafka_message_t *message;

	switch (rd_kafka_event_type(source->client.event))
	{
		case RD_KAFKA_EVENT_FETCH:
			message = rd_kafka_event_message_next(source->client.event);
			return message != NULL && make_message(source, message, event);
		case RD_KAFKA_EVENT_ERROR:
			return make_error(source, event);
		case RD_KAFKA_EVENT_LOG:
			outbox_kafka_report_log(&source->client, &report);
			make_news(&report, event);
			return true;
		case RD_KAFKA_EVENT_ALTERCONSUMERGROUPOFFSETS_RESULT:
			return outbox_kafka_told(source, event);
		default:
			return false;
	}
}

static void
make_topic_answer(OutboxSource *source, const OutboxKafkaQuestion *question,
				  OutboxSourceEvent *event)
{
	OutboxKafkaReadTopic *topic = outbox_kafka_read_topic(
		source->readings, source->client.rk, question->topic);

	topic->asking = false;
	event->type = OUTBOX_SOURCE_TOPIC;
	event->topic = topic->name;
	event->state = outbox_kafka_topic_state(question, &event->failure,
											source->client.message);
	/* the brokers are about to make it, or to forget it */
	if (event->state == OUTBOX_TOPIC_FINE && question->count <= 0)
		event->state = OUTBOX_TOPIC_SILENT;
	event->message = source->client.message;
	switch (event->state)
	{
		case OUTBOX_TOPIC_FINE:
			event->message = NULL;
			/* fall through */
		case OUTBOX_TOPIC_LEADERLESS:
			event->count = question->count;
			outbox_kafka_read_missing(source, topic, event->count);
			break;
		case OUTBOX_TOPIC_FAULTY:
			event->count = is_missing(question->code) ? 0 : -1;
			break;
		case OUTBOX_TOPIC_SILENT:
			event->message = NULL;
			event->count = -1;
			break;
	}
}

static void
make_offset_answer(OutboxSource *source, const OutboxKafkaQuestion *question,
				   OutboxSourceEvent *event)
{
	event->type = OUTBOX_SOURCE_OFFSET;
	event->topic = question->topic;
	event->partition = question->partition;
	event->offset = question->offset;
	if (question->code == RD_KAFKA_RESP_ERR_NO_ERROR && question->offset >= 0)
		return;
	event->offset = -1;
	event->failure = outbox_kafka_failure(question->code);
	event->message = source->client.message;
	outbox_kafka_message(question->code, source->client.message);
}

/* The next answer; false if there is none. */
static bool
make_answer(OutboxSource *source, OutboxSourceEvent *event)
{
	OutboxKafkaQuestion *question;
	OutboxKafkaReading *reading;

	free(source->client.question);
	question = source->client.question =
		outbox_kafka_query_next(source->client.query);
	if (question == NULL)
		return false;
	if (question->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		source->client.got_on = true;
	if (question->partition < 0)
	{
		make_topic_answer(source, question, event);
		return true;
	}
	reading = outbox_kafka_find_reading(source->readings, question->topic,
										question->partition);
	reading->asking = false;
	make_offset_answer(source, question, event);
	return true;
}

static bool
is_crowded(OutboxSource *source, OutboxSourceEvent *event)
{
	OutboxKafkaReport report = {0};

	if (!outbox_kafka_client_is_crowded(&source->client, &report))
		return false;
	make_news(&report, event);
	return true;
}

static bool
is_stuck(OutboxSource *source, OutboxSourceEvent *event)
{
	OutboxKafkaReport report = {0};

	if (!outbox_kafka_tell_is_stuck(source))
		return false;
	outbox_kafka_report_fatal(
		&source->client, "the coordinator of the group has been away for long",
		&report);
	make_news(&report, event);
	return true;
}

/*
 * The library's event is kept while it is being handed out: message and data
 * point into it.
 */
bool
outbox_kafka_source_poll(OutboxSource *source, OutboxSourceEvent *event)
{
	memset(event, 0, sizeof(*event));
	while (outbox_kafka_client_next(&source->client))
	{
		if (!source->client.told)
		{
			source->client.told = true;
			if (make_event(source, event))
				return true;
		}
		outbox_kafka_client_done(&source->client);
	}
	if (make_answer(source, event))
		return true;
	outbox_kafka_read_due(source);
	outbox_kafka_tell_pending(source);
	return is_stuck(source, event) || is_crowded(source, event);
}
