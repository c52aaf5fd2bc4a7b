/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far we are, as others are told: what this process does, as its state;
 *	  how much is behind, in its figures; the offsets, to the brokers, for tools
 *	  that show lag. And what is written down though no message was done: that a
 *	  partition's end has been reached, behind marks of transactions or what was
 *	  compacted, or where the end is.
 *
 * Nothing is written, and no broker told, while nothing has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/relay_state.h"
#include "shared/subscriber_figures.h"
#include "sink/client_log.h"
#include "store/subscription_offsets.h"
#include "subscribe/connection.h"
#include "subscribe/progress.h"

/* how often brokers and the table are told, while something moves */
#define TELL_EVERY_MS  5000

/* how often it is counted how much is behind */
#define COUNT_EVERY_MS 200

#define REASON_MAX     (OUTBOX_TOPIC_MAX + 512)

/* What is the matter with our partitions */
typedef struct Survey
{
	int own;
	int troubled;
	const OutboxPartition *gap; /* one of those that have one */
	int gaps;
	const OutboxSubscribedTopic *missing; /* one that there is not */
	bool untold;                          /* something is to be told */
} Survey;

static char refused[OUTBOX_SINK_ERROR_MAX]; /* by brokers, the last time */
static char shown[REASON_MAX];              /* the reason of the state */
static bool untold = false;
static bool uncounted = false;
static TimestampTz tell_at = 0;
static TimestampTz count_at = 0;

/* Brokers refuse a partition; -1 = a topic. */
void
outbox_progress_refused(const char *topic, int32 partition,
						const char *message)
{
	char line[REASON_MAX + OUTBOX_SINK_ERROR_MAX];

	if (partition < 0)
		snprintf(line, sizeof(line), "topic \"%s\": %s", topic, message);
	else
		snprintf(line, sizeof(line), "partition %d of topic \"%s\": %s",
				 partition, topic, message);
	strlcpy(refused, message, sizeof(refused));
	outbox_relay_state_error(line);
	outbox_client_log(LOG_WARNING, line);
}

/* Is its end behind next_offset, with nothing to do before it? */
static bool
can_catch_up(const OutboxPartition *partition)
{
	return partition->taken == partition->next_offset &&
		   partition->end_reached > partition->next_offset;
}

/* Is there something about it that the table does not say? Where the end is
 * matters only if it has not been reached. */
static bool
is_unwritten(const OutboxPartition *partition)
{
	if (partition->next_offset < 0 || partition->stale ||
		partition->gap != NULL || partition->seek != NULL ||
		partition->taken != partition->next_offset)
		return false;
	return can_catch_up(partition) ||
		   (partition->end_offset > partition->next_offset &&
			partition->end_offset != partition->end_written);
}

static Survey
survey(void)
{
	Survey its = {0};
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	ListCell *lc;

	OUTBOX_EACH_PARTITION(topic, partition)
	{
		if (!partition->own)
			continue;
		if (partition->gap != NULL)
		{
			its.gaps++;
			its.gap = partition;
		}
		if (!outbox_partition_is_there(topic, partition))
			continue;
		its.own++;
		if (partition->troubled)
			its.troubled++;
		its.untold = its.untold || is_unwritten(partition) ||
					 partition->next_offset != partition->told;
	}
	foreach (lc, outbox_topics)
	{
		topic = lfirst(lc);
		if (topic->wanted && topic->count == 0)
			its.missing = topic;
	}
	return its;
}

/* Shows a state; cheap if nothing has changed. */
static void
show(OutboxRelayState state, const char *reason, const char *hint)
{
	if (outbox_relay_state_set(state, reason, hint))
		strlcpy(shown, reason, sizeof(shown));
	else if (strcmp(shown, reason) != 0)
	{
		strlcpy(shown, reason, sizeof(shown));
		outbox_relay_state_still(reason, hint);
	}
}

static void
show_state(const Survey *its)
{
	char reason[REASON_MAX];

	/* an outage is shown where it is found */
	if (outbox_connection.outage.since != 0)
		return;
	if (outbox_partitions_are_halted())
		show(OUTBOX_RELAY_HALTED,
			 "A message has failed, and on_failure is halt",
			 "It is tried again and again; outbox.inbox_discard() gives it "
			 "up.");
	else if (its->gaps > 0 && !outbox_subscriber.subscription->skip_gaps)
	{
		snprintf(reason, sizeof(reason), "Partition %d of topic \"%s\": %s",
				 its->gap->number, its->gap->topic, its->gap->gap);
		show(OUTBOX_RELAY_GAP, reason,
			 "outbox.seek() tells where to go on; "
			 "outbox.subscription_partition "
			 "shows which partitions wait for that.");
	}
	else if (its->own > 0 && its->troubled == its->own)
	{
		snprintf(reason, sizeof(reason), "No partition can be read: %s",
				 refused);
		show(OUTBOX_RELAY_UNAVAILABLE, reason, NULL);
	}
	else if (its->missing != NULL)
	{
		snprintf(reason, sizeof(reason),
				 "It waits for topic \"%s\", which is not there",
				 its->missing->name);
		/* the state does not tell; last_error does */
		if (strcmp(shown, reason) != 0)
			outbox_relay_state_error(reason);
		show(OUTBOX_RELAY_CONSUMING, reason, NULL);
	}
	else
		show(OUTBOX_RELAY_CONSUMING, "It reads all of its topics", NULL);
}

/* Is there a topic of which it is not known what partitions it has, or a
 * partition of ours of which it is not known where it begins? */
static bool
has_unknown(void)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	ListCell *lc;

	foreach (lc, outbox_topics)
	{
		topic = lfirst(lc);
		if (topic->wanted && topic->count < 0)
			return true;
	}
	OUTBOX_EACH_PARTITION(topic, partition)
	{
		if (partition->own && partition->next_offset < 0 &&
			outbox_partition_is_there(topic, partition))
			return true;
	}
	return false;
}

/* Counts how much is behind; since: when the first of it was published. */
static void
count_lag(void)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	TimestampTz since = 0;
	int64 messages = 0;
	bool known = !has_unknown();

	OUTBOX_EACH_PARTITION(topic, partition)
	{
		TimestampTz its_since;
		int64 end;

		if (!partition->own || partition->next_offset < 0)
			continue;
		end = outbox_connection.api->end_offset(
			outbox_connection.source, partition->topic, partition->number);
		if (end >= 0)
			partition->end_offset = end;
		end = Max(partition->end_offset, partition->end_written);
		if (end < 0 && outbox_partition_is_wanted(partition))
			known = false;
		if (end <= partition->next_offset)
			continue;
		messages += end - partition->next_offset;
		its_since = partition->taken > partition->next_offset
						? partition->in_hand
						: partition->published_at;
		if (its_since != 0 && (since == 0 || its_since < since))
			since = its_since;
	}
	outbox_subscriber_show_lag(known ? messages : OUTBOX_LAG_UNKNOWN, since);
}

/* Shows what we are doing, and how much is behind. */
void
outbox_progress_show(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Survey its = survey();

	untold = its.untold;
	show_state(&its);
	outbox_subscriber_show_partitions(its.own);
	uncounted = (now < count_at);
	if (uncounted)
		return;
	count_at = TimestampTzPlusMilliseconds(now, COUNT_EVERY_MS);
	count_lag();
}

/* The state is shown by somebody else, until we show it again. */
void
outbox_progress_forget(void)
{
	shown[0] = '\0';
	untold = uncounted = false;
	tell_at = count_at = 0;
}

/* Tells the brokers how far partitions are. */
void
outbox_progress_tell_brokers(void)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;

	if (outbox_connection.source == NULL)
		return;
	OUTBOX_EACH_PARTITION(topic, partition)
	{
		if (!partition->own || partition->next_offset < 0 ||
			partition->next_offset == partition->told ||
			!outbox_partition_is_there(topic, partition))
			continue;
		partition->told = partition->next_offset;
		outbox_connection.api->tell(outbox_connection.source, partition->topic,
									partition->number, partition->told);
	}
}

/* Writes down what the table does not say. */
static void
write_down(void)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	List *partitions = NIL;
	ListCell *lc;

	OUTBOX_EACH_PARTITION(topic, partition)
	{
		if (partition->own && is_unwritten(partition))
			partitions = lappend(partitions, partition);
	}
	if (partitions == NIL)
		return;
	/* if tables are locked, the next time */
	(void) outbox_offsets_catch_up(outbox_subscriber.subscription->name,
								   partitions);
	foreach (lc, partitions)
	{
		if (((OutboxPartition *) lfirst(lc))->stale)
			outbox_partitions_read_again();
	}
	list_free(partitions);
}

/* Tells brokers and the table, if there is something to tell, and it is time
 * to. */
void
outbox_progress_tell(void)
{
	TimestampTz now;

	if (!untold || outbox_connection.source == NULL)
		return;
	now = GetCurrentTimestamp();
	if (now < tell_at)
		return;
	tell_at = TimestampTzPlusMilliseconds(now, TELL_EVERY_MS);
	untold = false;
	write_down();
	outbox_progress_tell_brokers();
	/* how much is behind may be less now */
	uncounted = true;
}

/* How long until something is to be told or shown; -1 = nothing is */
long
outbox_progress_timeout_ms(void)
{
	TimestampTz at = 0;

	if (untold)
		at = tell_at;
	if (uncounted)
		at = untold ? Min(at, count_at) : count_at;
	if (!untold && !uncounted)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), at);
}
