/*-------------------------------------------------------------------------
 *
 * due_blocks.c
 *	  Which blocks are to be tried, when, and whether their events go alone or
 *	  together: see retry.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "retry/due_blocks.h"
#include "retry/topic.h"

static TimestampTz next_due = 0; /* of all blocks; 0 = look */
static uint32 next_due_of = 0;   /* the blocks as they were then */

/* When a block can be tried */
static TimestampTz
due_at(const OutboxBlockedKey *entry)
{
	if (entry->block.paused)
		return DT_NOEND;
	if (entry->open || entry->alone_upto > 0)
		return entry->not_before;
	return Max(entry->block.next_attempt, entry->not_before);
}

/* Do the events of an open block go alone, as others of its topic are
 * refused? */
bool
outbox_due_blocks_goes_alone(const OutboxBlockedKey *entry)
{
	return entry->block.scope == OUTBOX_BLOCK_KEY && entry->open &&
		   outbox_topic_goes_alone(entry->block.topic);
}

/* Is it to be tried alone? */
static bool
wants_alone(const OutboxBlockedKey *entry, TimestampTz now)
{
	if (entry->block.paused)
		return false;
	if (entry->alone_upto > 0 || outbox_due_blocks_goes_alone(entry))
		return entry->not_before <= now;
	/* among those that block no other, each has its own time */
	if (entry->block.scope == OUTBOX_BLOCK_EVENT)
		return entry->not_before <= now && entry->block.next_attempt != 0 &&
			   entry->block.next_attempt <= now;
	return !entry->open && due_at(entry) <= now;
}

/* Does it have events that go together? */
bool
outbox_due_blocks_together(const OutboxBlockedKey *entry, TimestampTz now)
{
	return entry->open && entry->not_before <= now &&
		   !outbox_due_blocks_goes_alone(entry) &&
		   (entry->alone_upto == 0 ||
			entry->block.scope == OUTBOX_BLOCK_EVENT);
}

/*
 * Finds blocks to be tried alone, others than the last time if there are too
 * many. (A scan cannot go on across transactions.) together becomes whether
 * there are others.
 */
int
outbox_due_blocks_find(OutboxBlockedKey **due, int max, bool *together)
{
	static int skip = 0;
	HASH_SEQ_STATUS scan;
	OutboxBlockedKey *entry;
	TimestampTz now = GetCurrentTimestamp();
	int found = 0;
	int count = 0;

	*together = false;
	outbox_blocked_keys_scan(&scan);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		entry->failed = false;
		if (outbox_due_blocks_together(entry, now))
			*together = true;
		if (!wants_alone(entry, now))
			continue;
		if (found++ >= skip && count < max)
			due[count++] = entry;
	}
	skip = (found > skip + count) ? skip + count : 0;
	if (count == 0 && found > 0)
		return outbox_due_blocks_find(due, max, together);
	return count;
}

/* When the next block is due */
TimestampTz
outbox_due_blocks_next(void)
{
	HASH_SEQ_STATUS scan;
	OutboxBlockedKey *entry;
	TimestampTz next = DT_NOEND;

	if (next_due != 0 && next_due_of == outbox_blocked_keys_generation())
		return next_due;
	outbox_blocked_keys_scan(&scan);
	while ((entry = hash_seq_search(&scan)) != NULL)
		next = Min(next, due_at(entry));
	next_due_of = outbox_blocked_keys_generation();
	next_due = Max(next, 1);
	return next_due;
}

/* Blocks have been tried: others may be due. */
void
outbox_due_blocks_changed(void)
{
	next_due = 0;
}
