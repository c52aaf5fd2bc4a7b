/*-------------------------------------------------------------------------
 *
 * places.c
 *	  Where partitions are begun, where outbox.seek() and the policy for gaps
 *	  make them go on, and what is missing where they are: what the brokers
 *	  are asked for that, and what is written down when they have answered.
 *
 *	  no row of the topic	all of its partitions begin where the subscription
 *							does, in one transaction; but if the topic is made
 *							only now, at its beginning
 *	  no row of a partition	it has been added: begins at 0, so that nothing of
 *							it is missed
 *	  out of range			retention has passed the offset, or it is beyond
 *							the end; so is what was in a topic that has gone.
 *							That is a gap: nothing is read of the partition,
 *							until it is told where to go on
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "shared/my_relay.h"
#include "store/subscription_offsets.h"
#include "subscribe/places.h"

/* how soon what was out of range is tried again, before it is a gap */
#define DOUBT_MS 1000

/* The meaning of earliest, latest or a time */
static OutboxSourcePlace
parse(const char *text, int64 *time_ms)
{
	TimestampTz time;

	*time_ms = 0;
	if (strcmp(text, "earliest") == 0)
		return OUTBOX_SOURCE_EARLIEST;
	if (strcmp(text, "latest") == 0)
		return OUTBOX_SOURCE_LATEST;
	time = DatumGetTimestampTz(
		DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
							ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (TIMESTAMP_IS_NOBEGIN(time))
		return OUTBOX_SOURCE_EARLIEST;
	if (TIMESTAMP_IS_NOEND(time))
		return OUTBOX_SOURCE_LATEST;
	/* the first one that is not older: so not rounded down */
	*time_ms =
		(time + 999) / 1000 +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000);
	return OUTBOX_SOURCE_TIME;
}

/* What the brokers are to be asked about a partition; false = nothing. Raises
 * an error if a place cannot be read. */
bool
outbox_places_ask(const OutboxPartition *partition, OutboxSourcePlace *place,
				  int64 *time_ms)
{
	*time_ms = 0;
	*place = OUTBOX_SOURCE_EARLIEST;
	if (partition->answer >= 0)
		return false;
	switch (partition->question)
	{
		case OUTBOX_QUESTION_NONE:
			return false;
		case OUTBOX_QUESTION_START:
			*place = parse(outbox_subscriber.subscription->start, time_ms);
			break;
		case OUTBOX_QUESTION_SEEK:
			*place = parse(partition->seek, time_ms);
			break;
		case OUTBOX_QUESTION_END:
			*place = OUTBOX_SOURCE_LATEST;
			break;
		case OUTBOX_QUESTION_FIRST:
		case OUTBOX_QUESTION_SKIP:
			break;
	}
	return true;
}

/* Has the question been answered? Asks it, if it has not been asked. */
static bool
is_answered(OutboxPartition *partition, OutboxQuestion question)
{
	if (partition->question != question)
		outbox_partition_question(partition, question);
	return partition->answer >= 0;
}

/* Makes the rows of a topic, at these offsets if there is none. */
static OutboxStoreStatus
begin_at(OutboxSubscribedTopic *topic, const int64 *offsets, int count)
{
	OutboxStoreStatus status = outbox_offsets_begin_topic(
		outbox_subscriber.subscription->name, topic->name, offsets, count);

	if (status == OUTBOX_STORE_OK)
		outbox_partitions_read_again();
	return status;
}

/* Makes rows for partitions that have none. */
static OutboxStoreStatus
begin(OutboxSubscribedTopic *topic, bool *worked)
{
	OutboxStoreStatus status;
	int64 *offsets;
	bool complete = true;
	bool answered = true;
	int count = Max(topic->count, 1);

	/* while it is not there, partition 0 stands for it: then it is begun */
	if (topic->count < 0 || (topic->count == 0 && !topic->gone) ||
		(topic->count == 0 && topic->begun))
		return OUTBOX_STORE_OK;
	offsets = palloc0(count * sizeof(int64));
	for (int i = 0; i < topic->count; i++)
	{
		OutboxPartition *partition = topic->partitions[i];

		if (partition->next_offset >= 0)
			continue;
		complete = false;
		if (topic->begun)
			continue;
		answered = is_answered(partition, OUTBOX_QUESTION_START) && answered;
		offsets[i] = partition->answer;
	}
	status = OUTBOX_STORE_OK;
	if (topic->count == 0 || (!complete && answered))
	{
		status = begin_at(topic, offsets, count);
		*worked = true;
	}
	pfree(offsets);
	return status;
}

/* Something is missing from next_offset on: says so, and writes it down. */
static OutboxStoreStatus
note_gap(OutboxPartition *partition, char *gap)
{
	OutboxStoreStatus status = outbox_offsets_note_gap(
		outbox_subscriber.subscription->name, partition, gap);

	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_partitions_read_again();
	outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
	ereport(
		WARNING,
		(errmsg("%s: messages are missing in partition %d of topic \"%s\"",
				outbox_my_relay.label, partition->number, partition->topic),
		 errdetail_internal("%s", gap),
		 outbox_subscriber.subscription->skip_gaps
			 ? 0
			 : errhint("outbox.seek() tells where to go on.")));
	return status;
}

static OutboxStoreStatus
go_on(OutboxPartition *partition)
{
	bool skipped = (partition->question == OUTBOX_QUESTION_SKIP);
	int64 offset = partition->answer;
	OutboxStoreStatus status = outbox_offsets_go_on(
		outbox_subscriber.subscription->name, partition, offset);

	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_partitions_read_again();
	outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
	if (skipped)
		ereport(WARNING, (errmsg("%s: partition %d of topic \"%s\" goes on at "
								 "offset " INT64_FORMAT ", behind a gap",
								 outbox_my_relay.label, partition->number,
								 partition->topic, offset),
						  errdetail_internal("%s", partition->gap)));
	else
		ereport(LOG,
				(errmsg("%s: partition %d of topic \"%s\" goes on at "
						"offset " INT64_FORMAT ", as outbox.seek() has asked",
						outbox_my_relay.label, partition->number,
						partition->topic, offset)));
	return status;
}

/* What the source has found out of range; looks whether it is. */
static OutboxStoreStatus
check_range(OutboxPartition *partition)
{
	int64 next = partition->next_offset;
	int64 answer = partition->answer;

	/* what the batch has of it has its turn first */
	if (answer < 0 || partition->taken != next)
		return OUTBOX_STORE_OK;
	if (partition->question == OUTBOX_QUESTION_FIRST && answer <= next)
	{
		outbox_partition_question(partition, OUTBOX_QUESTION_END);
		return OUTBOX_STORE_OK;
	}
	if (partition->question == OUTBOX_QUESTION_FIRST)
		return note_gap(partition,
						psprintf("offsets from " INT64_FORMAT
								 " to " INT64_FORMAT " are not kept any more",
								 next, answer - 1));
	/* a new leader may not know yet how far its predecessor was */
	if (answer < next && partition->beyond)
		return note_gap(partition,
						psprintf("offset " INT64_FORMAT
								 " is beyond the end, which is " INT64_FORMAT
								 ": the topic has been made anew, or the "
								 "brokers have lost messages",
								 next, answer));
	partition->beyond = (answer < next);
	partition->retry_at =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DOUBT_MS);
	outbox_partition_question(partition, OUTBOX_QUESTION_NONE);
	return OUTBOX_STORE_OK;
}

/* A partition that has a row, and may not be where it should */
static OutboxStoreStatus
settle(const OutboxSubscribedTopic *topic, OutboxPartition *partition)
{
	bool is_there = outbox_partition_is_there(topic, partition);

	if (partition->seek != NULL)
		return is_there && is_answered(partition, OUTBOX_QUESTION_SEEK)
				   ? go_on(partition)
				   : OUTBOX_STORE_OK;
	if (partition->gap != NULL)
		return is_there && outbox_subscriber.subscription->skip_gaps &&
					   is_answered(partition, OUTBOX_QUESTION_SKIP)
				   ? go_on(partition)
				   : OUTBOX_STORE_OK;
	if (!is_there && topic->gone && partition->next_offset > 0 &&
		partition->taken == partition->next_offset)
		return note_gap(
			partition,
			psprintf("the topic has been deleted, or made anew with less "
					 "partitions; what it had from offset " INT64_FORMAT
					 " on has not been read",
					 partition->next_offset));
	if (partition->question == OUTBOX_QUESTION_FIRST ||
		partition->question == OUTBOX_QUESTION_END)
		return check_range(partition);
	return OUTBOX_STORE_OK;
}

/*
 * Does what can be done by now. worked: has anything been written? BUSY: again
 * in a moment.
 */
OutboxStoreStatus
outbox_places_run(bool *worked)
{
	OutboxSubscribedTopic *topic;
	OutboxPartition *partition;
	OutboxStoreStatus status;
	ListCell *lc;

	foreach (lc, outbox_topics)
	{
		topic = lfirst(lc);
		if (!topic->wanted)
			continue;
		status = begin(topic, worked);
		if (status != OUTBOX_STORE_OK)
			return status;
	}
	OUTBOX_EACH_PARTITION(topic, partition)
	{
		if (!partition->own || partition->next_offset < 0 || partition->stale)
			continue;
		status = settle(topic, partition);
		if (status != OUTBOX_STORE_OK)
			return status;
	}
	*worked = *worked || outbox_partitions_are_stale();
	return OUTBOX_STORE_OK;
}
