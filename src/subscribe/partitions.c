/*-------------------------------------------------------------------------
 *
 * partitions.c
 *	  Which topics and partitions there are, what is known of their rows in
 *	  outbox.subscription_offset, and which of them this worker reads.
 *
 * What others change here are marks only; intake.c does in its next turn what
 * follows from them, and starts or stops the source.
 *
 *	  next_offset	on disk: all before it is done
 *	  taken			all before it is done, or is in the queue
 *	  started		what the source tells next is the first one from taken on
 *
 * A partition that is stale is not as it was on disk: somebody has moved it.
 * Nothing is taken before its row has been read again, and if it has moved, all
 * of the queue is dropped, which may have been taken from where it was.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/subscription_offsets.h"
#include "subscribe/partitions.h"

/* no topic has more partitions, or somebody lies */
#define PARTITIONS_MAX 100000

/* what brokers say for so long, and so often, is believed: some partitions are
 * not there any more. One that has just started may not know of them yet. */
#define GONE_MS        2000
#define GONE_ANSWERS   3

List *outbox_topics = NIL;

static bool unread = true;  /* all rows are to be read, again or at all */
static uint32 readings = 0; /* how often they have been */
static bool halted = false; /* nothing is read: outbox_partitions_halt() */

/* The topic of that name; NULL = the subscription has never had it */
OutboxSubscribedTopic *
outbox_topic_of(const char *name)
{
	static OutboxSubscribedTopic *last = NULL;
	ListCell *lc;

	/* a run of messages has one topic */
	if (last != NULL && strcmp(last->name, name) == 0)
		return last;
	foreach (lc, outbox_topics)
	{
		OutboxSubscribedTopic *topic = lfirst(lc);

		if (strcmp(topic->name, name) == 0)
			return last = topic;
	}
	return NULL;
}

/* One of its partitions; NULL = it is not known */
OutboxPartition *
outbox_partition_find(const char *topic, int32 number)
{
	OutboxSubscribedTopic *its = outbox_topic_of(topic);

	if (its == NULL || number < 0 || number >= its->known)
		return NULL;
	return its->partitions[number];
}

static bool
is_own(const OutboxSubscribedTopic *topic, int32 number)
{
	return topic->wanted && number % outbox_subscriber.subscription->workers ==
								outbox_subscriber.worker;
}

static OutboxPartition *
make_partition(const OutboxSubscribedTopic *topic, int32 number)
{
	OutboxPartition *partition =
		MemoryContextAllocZero(TopMemoryContext, sizeof(OutboxPartition));

	strlcpy(partition->topic, topic->name, sizeof(partition->topic));
	partition->number = number;
	partition->next_offset = partition->taken = partition->end_written = -1;
	partition->end_offset = partition->told = partition->answer = -1;
	partition->own = is_own(topic, number);
	return partition;
}

/* Knows of at least so many partitions. */
static void
know(OutboxSubscribedTopic *topic, int64 count)
{
	if (count <= topic->known)
		return;
	if (count > PARTITIONS_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
						errmsg("topic \"%s\" has " INT64_FORMAT
							   " partitions, more than there can be",
							   topic->name, count)));
	topic->partitions =
		topic->partitions
			? repalloc(topic->partitions, count * sizeof(OutboxPartition *))
			: MemoryContextAlloc(TopMemoryContext,
								 count * sizeof(OutboxPartition *));
	while (topic->known < count)
	{
		topic->partitions[topic->known] = make_partition(topic, topic->known);
		topic->known++;
	}
}

/* The subscription has these topics now; names: of char *. */
void
outbox_topics_want(List *names)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	ListCell *lc;

	foreach (lc, outbox_topics)
		((OutboxSubscribedTopic *) lfirst(lc))->wanted = false;
	foreach (lc, names)
	{
		OutboxSubscribedTopic *topic = outbox_topic_of(lfirst(lc));

		if (topic == NULL)
		{
			topic = palloc0(sizeof(OutboxSubscribedTopic));
			strlcpy(topic->name, lfirst(lc), sizeof(topic->name));
			topic->count = -1;
			outbox_topics = lappend(outbox_topics, topic);
		}
		topic->wanted = true;
	}
	MemoryContextSwitchTo(old_context);
	foreach (lc, outbox_topics)
	{
		OutboxSubscribedTopic *topic = lfirst(lc);

		for (int i = 0; i < topic->known; i++)
			topic->partitions[i]->own = is_own(topic, i);
	}
	unread = true;
}

/*
 * The brokers say that a topic has so many partitions; 0 = that there is no
 * such topic. If they were more, it is believed only after a while.
 */
void
outbox_topic_counted(OutboxSubscribedTopic *topic, int count)
{
	TimestampTz now = GetCurrentTimestamp();

	know(topic, count);
	topic->count = count;
	if (count > 0 && count >= topic->known)
	{
		topic->gone_since = 0;
		topic->gone_answers = 0;
		topic->gone = false;
		return;
	}
	if (topic->gone_since == 0)
		topic->gone_since = now;
	topic->gone_answers++;
	topic->gone = topic->gone_answers >= GONE_ANSWERS &&
				  TimestampDifferenceExceeds(topic->gone_since, now, GONE_MS);
}

/* Do the brokers have that partition, as far as is known? */
bool
outbox_partition_is_there(const OutboxSubscribedTopic *topic,
						  const OutboxPartition *partition)
{
	return topic->count < 0 || partition->number < topic->count;
}

/* Is it to be read? */
bool
outbox_partition_is_wanted(const OutboxPartition *partition)
{
	return !halted && partition->own && partition->next_offset >= 0 &&
		   !partition->stale && !partition->blocked &&
		   partition->gap == NULL && partition->seek == NULL &&
		   partition->question == OUTBOX_QUESTION_NONE;
}

/*
 * What the batch has had of this partition is dropped: it is taken once more,
 * from the first one on that is not done.
 */
void
outbox_partition_rewind(OutboxPartition *partition)
{
	partition->taken = partition->next_offset;
	partition->in_hand = 0;
	partition->end_reached = 0;
	partition->started = false;
}

/*
 * The row of this partition is not as it was expected; the caller drops what
 * the batch has of it.
 */
void
outbox_partition_outdated(OutboxPartition *partition)
{
	outbox_partition_rewind(partition);
	partition->stale = unread = true;
}

/*
 * A message of this partition has failed, and nothing behind it is to be read;
 * or not any more. The caller has set next_offset behind it, and drops what the
 * batch has of it.
 */
void
outbox_partition_block(OutboxPartition *partition, bool blocked)
{
	if (partition->blocked == blocked)
		return;
	partition->blocked = blocked;
	outbox_partition_rewind(partition);
}

/*
 * Nothing is read of any partition, since a message has failed; or that is
 * over. The caller drops what the batch has. Returns whether that is new.
 */
bool
outbox_partitions_halt(bool halt)
{
	if (halted == halt)
		return false;
	halted = halt;
	outbox_partitions_forget();
	return true;
}

bool
outbox_partitions_are_halted(void)
{
	return halted;
}

/* An offset is needed, or none any more. An answer to what was asked before is
 * of no use. */
void
outbox_partition_question(OutboxPartition *partition, OutboxQuestion question)
{
	partition->question = question;
	partition->answer = -1;
	partition->ignore_answer = partition->asked;
}

/* The source has been closed: it reads nothing, and gives no answers. */
void
outbox_partitions_closed(void)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;

	OUTBOX_EACH_PARTITION(topic, partition)
	{
		partition->reading = partition->started = false;
		partition->asked = partition->ignore_answer = false;
		partition->troubled = false;
		partition->retry_at = 0;
	}
}

/* Are there rows to be read again? */
bool
outbox_partitions_are_stale(void)
{
	return unread;
}

/* How often the rows have been read. What another process has written with an
 * offset that it has moved is seen by who looks after that. */
uint32
outbox_partitions_readings(void)
{
	return readings;
}

/* All rows are to be read again. */
void
outbox_partitions_read_again(void)
{
	unread = true;
}

/* What the source has told last may be lost, and the batch has been dropped:
 * begins anew, from what is on disk. */
void
outbox_partitions_forget(void)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;

	OUTBOX_EACH_PARTITION(topic, partition)
	{
		outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
		outbox_partition_rewind(partition);
	}
	unread = true;
}

static void
replace_string(char **string, const char *by)
{
	if (*string != NULL)
		pfree(*string);
	*string = by ? MemoryContextStrdup(TopMemoryContext, by) : NULL;
}

/* Takes over a row. */
static void
take_row(const OutboxOffsetRow *row, void *arg)
{
	bool *moved = arg;
	OutboxSubscribedTopic *topic = outbox_topic_of(row->topic);
	OutboxPartition *partition;

	if (topic == NULL || !topic->wanted)
		return;
	topic->begun = true;
	/* it may have been written by hand */
	know(topic, (int64) row->partition + 1);
	partition = topic->partitions[row->partition];
	partition->stale = false;
	partition->repeat_upto = row->repeat_upto;
	partition->published_at = row->published_at;
	partition->end_written = row->end_offset;
	partition->version = row->version;
	replace_string(&partition->gap, row->gap);
	if (partition->seek == NULL || row->seek == NULL ||
		strcmp(partition->seek, row->seek) != 0)
	{
		replace_string(&partition->seek, row->seek);
		outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
	}
	if (partition->next_offset == row->next_offset)
		return;
	if (partition->taken != partition->next_offset)
		*moved = true;
	partition->next_offset = row->next_offset;
	outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
	outbox_partition_rewind(partition);
}

/* Somebody has removed the row: this partition is as a new one. */
static void
lost_row(OutboxPartition *partition, bool *moved)
{
	if (partition->taken != partition->next_offset)
		*moved = true;
	partition->stale = false;
	partition->next_offset = -1;
	outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
	replace_string(&partition->gap, NULL);
	replace_string(&partition->seek, NULL);
	outbox_partition_rewind(partition);
}

/*
 * Reads the rows again. moved: is any of them elsewhere than what the batch
 * has been taken from? Then all of the batch must be dropped.
 */
OutboxStoreStatus
outbox_partitions_read(bool *moved)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	ListCell *lc;
	OutboxStoreStatus status;

	*moved = false;
	foreach (lc, outbox_topics)
		((OutboxSubscribedTopic *) lfirst(lc))->begun = false;
	OUTBOX_EACH_PARTITION(topic, partition)
	partition->stale = true;
	status = outbox_offsets_read(outbox_subscriber.subscription->name,
								 take_row, moved);
	if (status != OUTBOX_STORE_OK)
		return status;
	OUTBOX_EACH_PARTITION(topic, partition)
	{
		if (partition->stale)
			lost_row(partition, moved);
	}
	unread = false;
	readings++;
	return status;
}
