/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  What comes from the brokers: messages, which go into the queue; answers
 *	  about topics and offsets; partitions that they refuse. And what the source
 *	  is told: which partitions to read, and from where.
 *
 * Nothing here waits. The queue decides how much is taken; what the source may
 * fetch ahead beyond that is limited, too. So memory is bounded, however far
 * behind we are.
 *
 * Brokers are asked about the topics every few seconds: that finds partitions
 * that have been added, and is what they must answer while no message comes.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "shared/times.h"
#include "subscribe/connection.h"
#include "subscribe/incoming.h"
#include "subscribe/intake.h"
#include "subscribe/places.h"
#include "subscribe/progress.h"
#include "subscribe/queue.h"

/* how often brokers are asked about topics; while something is amiss */
#define ASK_EVERY_MS    5000
#define ASK_AGAIN_MS    700

/* an offset is asked for again if it could not be told, or no answer comes */
#define OFFSET_AGAIN_MS 1000
#define ANSWER_MS       10000

/* a partition that brokers refuse is tried again */
#define TROUBLED_MS     5000

/* what is taken in one turn, at most */
#define EVENTS_MAX      10000

static TimestampTz ask_at = 0;  /* about topics */
static TimestampTz busy_at = 0; /* tables were locked: not before that */
static TimestampTz wake_at = 0; /* the first of what partitions wait for */

/* To be called once, before all others. */
void
outbox_intake_open(const OutboxSourceApi *api)
{
	outbox_connection_init(api);
}

/*
 * The row of the subscription is another one, or the settings may be. Returns
 * whether there are some that can be used.
 */
bool
outbox_intake_reconfigure(void)
{
	outbox_topics_want(outbox_subscriber.subscription->topics);
	ask_at = 0;
	return outbox_connection_reconfigure();
}

/* Closes the source, if there is one. */
void
outbox_intake_close(void)
{
	outbox_progress_tell_brokers();
	outbox_connection_close();
	outbox_progress_forget();
}

/* What has been told last may be lost with an error, and the queue has been
 * emptied: all of it is told again. */
void
outbox_intake_forget(void)
{
	outbox_partitions_forget();
	ask_at = 0;
}

static TimestampTz
after(long delay_ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);
}

/* Is it time for that? If not, we wake up then. */
static bool
is_time(TimestampTz at, TimestampTz now)
{
	if (at <= now)
		return true;
	if (wake_at == 0 || at < wake_at)
		wake_at = at;
	return false;
}

static void
take_message(OutboxPartition *partition, const OutboxSourceMessage *message)
{
	/* it may be of what it read before it was stopped */
	if (!partition->started || message->offset < partition->taken ||
		!outbox_partition_is_wanted(partition))
		return;
	outbox_queue_add(partition, message);
	if (partition->taken == partition->next_offset)
		partition->in_hand = outbox_incoming_time(message->timestamp_ms);
	partition->taken = message->offset + 1;
	partition->troubled = partition->beyond = false;
}

static void
take_end(OutboxPartition *partition, int64 offset)
{
	if (!partition->started)
		return;
	partition->end_reached = partition->end_offset = offset;
	partition->troubled = partition->beyond = false;
}

/* The brokers refuse a partition, for now. */
static void
take_trouble(OutboxPartition *partition, const OutboxSourceEvent *event)
{
	OutboxSubscribedTopic *topic = outbox_topic_of(event->topic);

	if (!partition->started)
		return;
	/* perhaps it is not there any more */
	if (event->failure == OUTBOX_FAILURE_TOPIC && topic->gone_since == 0)
		ask_at = 0;
	if (partition->troubled)
		return;
	partition->troubled = true;
	partition->retry_at = after(TROUBLED_MS);
	outbox_progress_refused(partition->topic, partition->number,
							event->message);
}

static void
take_topic(const OutboxSourceEvent *event)
{
	OutboxSubscribedTopic *topic = outbox_topic_of(event->topic);

	if (event->state == OUTBOX_TOPIC_SILENT)
	{
		outbox_connection_silent();
		return;
	}
	if (topic == NULL)
		return;
	if (event->count >= 0 &&
		(event->count > 0 || event->state == OUTBOX_TOPIC_FAULTY))
		outbox_topic_counted(topic, event->count);
	if (topic->gone_since != 0)
		ask_at = Min(ask_at, after(ASK_AGAIN_MS));
	if (event->state == OUTBOX_TOPIC_FAULTY && event->count != 0 &&
		!topic->refused)
		outbox_progress_refused(topic->name, -1, event->message);
	topic->refused =
		(event->state == OUTBOX_TOPIC_FAULTY && event->count != 0);
}

static void
take_offset(OutboxPartition *partition, int64 offset)
{
	bool ignore = partition->ignore_answer;

	partition->asked = partition->ignore_answer = false;
	partition->retry_at = 0;
	if (ignore)
		return;
	partition->answer = offset;
	if (offset < 0)
		partition->retry_at = after(OFFSET_AGAIN_MS);
}

static void
take_out_of_range(OutboxPartition *partition)
{
	partition->reading = false;
	if (!partition->started)
		return;
	partition->started = false;
	outbox_partition_question(partition, OUTBOX_QUESTION_FIRST);
}

/* Takes in what is about one partition. */
static void
take_of_partition(const OutboxSourceEvent *event)
{
	OutboxPartition *partition =
		outbox_partition_find(event->topic, event->partition);

	if (partition == NULL)
		return;
	switch (event->type)
	{
		case OUTBOX_SOURCE_MESSAGE:
			take_message(partition, event->data);
			break;
		case OUTBOX_SOURCE_END:
			take_end(partition, event->offset);
			break;
		case OUTBOX_SOURCE_OFFSET:
			take_offset(partition, event->offset);
			break;
		case OUTBOX_SOURCE_OUT_OF_RANGE:
			take_out_of_range(partition);
			break;
		default:
			take_trouble(partition, event);
			break;
	}
}

/* Takes in what the source has told. Returns whether there was any. */
static bool
take_events(void)
{
	OutboxSourceEvent event;
	bool answered = false;
	int events = 0;

	while (events < EVENTS_MAX && !outbox_queue_is_full() &&
		   outbox_connection_poll(&event))
	{
		events++;
		switch (event.type)
		{
			case OUTBOX_SOURCE_LOST:
			case OUTBOX_SOURCE_UNREACHABLE:
			case OUTBOX_SOURCE_FATAL:
			case OUTBOX_SOURCE_LOG:
				outbox_connection_news(&event);
				break;
			case OUTBOX_SOURCE_TOPIC:
				answered = answered || event.state != OUTBOX_TOPIC_SILENT;
				take_topic(&event);
				break;
			case OUTBOX_SOURCE_TROUBLED:
				take_of_partition(&event);
				break;
			case OUTBOX_SOURCE_OFFSET:
				answered = answered || event.offset >= 0;
				take_of_partition(&event);
				break;
			default:
				answered = true;
				take_of_partition(&event);
				break;
		}
	}
	if (answered)
		outbox_connection_works();
	else
		outbox_connection_check();
	return events > 0;
}

/* Tables are locked: again in a moment. */
static void
rest(void)
{
	busy_at = after(OUTBOX_TABLES_RETRY_MS);
	(void) is_time(busy_at, GetCurrentTimestamp());
}

/* Reads rows again, if some may have changed; false if they are locked. */
static bool
read_rows(void)
{
	bool moved;

	if (!outbox_partitions_are_stale())
		return true;
	if (outbox_partitions_read(&moved) != OUTBOX_STORE_OK)
	{
		rest();
		return false;
	}
	if (moved)
	{
		outbox_queue_clear();
		outbox_partitions_forget();
		return read_rows();
	}
	return true;
}

/* Asks about topics, if it is time to. */
static void
ask_topics(TimestampTz now)
{
	bool amiss = (outbox_connection.outage.since != 0);
	ListCell *lc;

	if (!is_time(ask_at, now))
		return;
	foreach (lc, outbox_topics)
	{
		OutboxSubscribedTopic *topic = lfirst(lc);

		if (topic->wanted)
			outbox_connection.api->ask_topic(outbox_connection.source,
											 topic->name);
	}
	ask_at = after(amiss ? ASK_AGAIN_MS : ASK_EVERY_MS);
	(void) is_time(ask_at, now);
}

/* Asks for the offset that a partition waits for, if it is time to. */
static void
ask_offset(OutboxPartition *partition, TimestampTz now)
{
	OutboxSourcePlace place;
	int64 time_ms;

	if (partition->question == OUTBOX_QUESTION_NONE ||
		partition->answer >= 0 || !is_time(partition->retry_at, now))
		return;
	/* no answer has come: it is lost, or late, and then it may still be one to
	 * another question */
	partition->asked = false;
	if (!outbox_places_ask(partition, &place, &time_ms))
		return;
	partition->asked = true;
	partition->retry_at = after(ANSWER_MS);
	outbox_connection.api->ask_offset(outbox_connection.source,
									  partition->topic, partition->number,
									  place, time_ms);
	(void) is_time(partition->retry_at, now);
}

/* Has a partition read or not, as it should be. */
static void
direct(const OutboxSubscribedTopic *topic, OutboxPartition *partition,
	   TimestampTz now)
{
	bool wanted = outbox_partition_is_wanted(partition) &&
				  outbox_partition_is_there(topic, partition);

	if (!wanted)
	{
		if (partition->reading)
			outbox_connection.api->stop(outbox_connection.source,
										partition->topic, partition->number);
		partition->reading = partition->started = false;
		return;
	}
	if ((partition->started && !partition->troubled) ||
		!is_time(partition->retry_at, now))
		return;
	if (partition->troubled)
	{
		partition->retry_at = after(TROUBLED_MS);
		(void) is_time(partition->retry_at, now);
	}
	partition->taken = Max(partition->taken, partition->next_offset);
	partition->reading = partition->started = true;
	outbox_connection.api->start(outbox_connection.source, partition->topic,
								 partition->number, partition->taken);
}

/* Tells the source what to do. */
static void
direct_source(TimestampTz now)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	ListCell *lc;

	ask_topics(now);
	OUTBOX_EACH_PARTITION(topic, partition)
	{
		ask_offset(partition, now);
		direct(topic, partition, now);
	}
	/* those that the subscription has no more */
	foreach (lc, outbox_topics)
	{
		topic = lfirst(lc);
		for (int i = 0; !topic->wanted && i < topic->known; i++)
			direct(topic, topic->partitions[i], now);
	}
}

/*
 * Takes in what the source has told, as much as the queue takes; begins
 * partitions, finds gaps, follows seeks; shows what we are doing. Returns
 * whether there may be more.
 */
bool
outbox_intake_run(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool worked;

	wake_at = 0;
	if (!is_time(busy_at, now) || !read_rows() || !outbox_connection_reopen())
		return false;
	worked = take_events();
	if (outbox_connection.source == NULL)
		return true;
	if (outbox_places_run(&worked) != OUTBOX_STORE_OK)
		rest();
	if (!outbox_partitions_are_stale())
		direct_source(now);
	outbox_progress_show();
	return worked;
}

/* In each round: what is told now and then of how far we are */
void
outbox_intake_tell(void)
{
	outbox_progress_tell();
}

/* How long until there is something to do, unless the source wakes us; -1 =
 * until somebody does */
long
outbox_intake_timeout_ms(void)
{
	long of_source = outbox_connection_timeout_ms();
	long of_progress =
		outbox_connection.source != NULL ? outbox_progress_timeout_ms() : -1;
	long wait_ms = -1;

	if (wake_at != 0)
		wait_ms =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake_at);
	if (of_source >= 0)
		wait_ms = wait_ms < 0 ? of_source : Min(wait_ms, of_source);
	if (of_progress >= 0)
		wait_ms = wait_ms < 0 ? of_progress : Min(wait_ms, of_progress);
	return wait_ms;
}
