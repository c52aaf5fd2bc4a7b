/*-------------------------------------------------------------------------
 *
 * message_blocks.c
 *	  A subscriber's memory of what waits behind messages that have failed, so
 *	  that each message costs no more than a look into a hash table while
 *	  something is parked, and nothing while nothing is. The truth is in
 *	  outbox.inbox_parked.
 *
 * There is one entry for each key of a partition, each partition, or all of
 * them, as the subscription's policy has it, whatever the number of messages
 * behind it; and one for all that are tried without regard to others.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "common/hashfn.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "subscribe/message_blocks.h"
#include "subscribe/partitions.h"
#include "subscribe/queue.h"

/* so many blocks are found due with one look at all of them */
#define DUE_MAX 500

static MemoryContext context = NULL;
static HTAB *table = NULL; /* NULL: nothing is parked, or not loaded */
static List *topics = NIL; /* names of the entries' */
static bool loaded = false;
static uint32 loaded_after; /* outbox_partitions_readings() */
static TimestampTz reload_at = DT_NOEND;
static OutboxMessageBlock *due[DUE_MAX];
static int due_count = 0;
static int due_taken = 0;
static TimestampTz next = DT_NOEND; /* when the first of the others is due */
static OutboxInboxScope scope;      /* the policy's, when all was loaded */

/* what the intake has been told not to read */
static List *held = NIL; /* of OutboxPartition * */
static bool halted = false;

/* Whose messages this process looks after */
OutboxInboxOwner
outbox_message_owner(void)
{
	return (OutboxInboxOwner){
		.subscription = outbox_subscriber.subscription->name,
		.workers = outbox_subscriber.subscription->workers,
		.worker = outbox_subscriber.worker,
	};
}

/*
 * What follows, in a transaction, is done by ourselves, on what is parked.
 * Plans are made when next to nothing is, and last: they use the indexes.
 */
void
outbox_parked_enter(OutboxParkedAccess *access)
{
	outbox_identity_elevate(&access->before);
	access->nest_level = NewGUCNestLevel();
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
outbox_parked_leave(const OutboxParkedAccess *access)
{
	AtEOXact_GUC(true, access->nest_level);
	outbox_identity_restore(&access->before);
}

/* What messages that fail keep from being handled */
static OutboxInboxScope
policy_scope(void)
{
	switch (outbox_subscriber.subscription->on_failure)
	{
		case OUTBOX_ON_FAILURE_SKIP:
			return OUTBOX_INBOX_SCOPE_NONE;
		case OUTBOX_ON_FAILURE_BLOCK_PARTITION:
			return OUTBOX_INBOX_SCOPE_PARTITION;
		case OUTBOX_ON_FAILURE_HALT:
			return OUTBOX_INBOX_SCOPE_ALL;
	}
	return OUTBOX_INBOX_SCOPE_KEY;
}

/* Are messages with a key, too, tried without regard to others? */
bool
outbox_message_is_keyed(void)
{
	return policy_scope() == OUTBOX_INBOX_SCOPE_NONE;
}

static uint32
hash_id(const void *id, Size size)
{
	(void) size;
	return (uint32) ((const OutboxMessageBlockId *) id)->hash[1];
}

static OutboxMessageBlockId
id_of(const OutboxInboxBlock *block)
{
	const char *topic = block->topic ? block->topic : "";
	OutboxMessageBlockId id;

	for (int half = 0; half < 2; half++)
	{
		uint64 hash = hash_bytes_extended((const unsigned char *) topic,
										  (int) strlen(topic),
										  (uint64) block->scope * 2 + half);

		hash = hash_combine64(hash, (uint64) (uint32) block->partition);
		id.hash[half] = hash_combine64(hash, (uint64) block->key_hash);
	}
	return id;
}

/* The block that a message belongs to, if it is parked */
static OutboxInboxBlock
block_of(const OutboxMessage *message)
{
	OutboxInboxBlock block = {.scope = scope};

	if (block.scope == OUTBOX_INBOX_SCOPE_KEY && message->key == NULL)
		block.scope = OUTBOX_INBOX_SCOPE_NONE;
	if (block.scope == OUTBOX_INBOX_SCOPE_KEY ||
		block.scope == OUTBOX_INBOX_SCOPE_PARTITION)
	{
		block.topic = message->topic;
		block.partition = message->number;
	}
	if (block.scope == OUTBOX_INBOX_SCOPE_KEY)
		block.key_hash = outbox_inbox_key_hash(message->key);
	return block;
}

/* A copy of the name that all entries share */
static const char *
keep_topic(const char *name)
{
	MemoryContext old_context;
	ListCell *cell;

	foreach (cell, topics)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return lfirst(cell);
	}
	old_context = MemoryContextSwitchTo(context);
	topics = lappend(topics, pstrdup(name));
	MemoryContextSwitchTo(old_context);
	return llast(topics);
}

static void
create_table(void)
{
	HASHCTL ctl = {.keysize = sizeof(OutboxMessageBlockId),
				   .entrysize = sizeof(OutboxMessageBlock),
				   .hash = hash_id};

	if (context == NULL)
		context = AllocSetContextCreate(
			TopMemoryContext, "outbox parked messages", ALLOCSET_SMALL_SIZES);
	ctl.hcxt = context;
	table = hash_create("outbox parked messages", 64, &ctl,
						HASH_ELEM | HASH_FUNCTION | HASH_CONTEXT);
}

/* Adds a block, unless it is there. */
static void
add(const OutboxInboxBlock *block)
{
	OutboxMessageBlockId id = id_of(block);
	OutboxMessageBlock *entry;
	bool found;

	if (table == NULL)
		create_table();
	entry = hash_search(table, &id, HASH_ENTER, &found);
	if (found)
	{
		/* of messages that wait for no other, any may be the first one */
		if (block->scope == OUTBOX_INBOX_SCOPE_NONE)
			outbox_message_blocks_set(
				entry, Min(entry->block.next_attempt, block->next_attempt));
		return;
	}
	entry->block = *block;
	entry->block.topic = block->topic ? keep_topic(block->topic) : NULL;
	entry->from = 0;
	entry->alone = 0;
	next = Min(next, block->next_attempt);
}

/* Forgets all: it is read again before anything is decided. */
void
outbox_message_blocks_forget(void)
{
	if (table != NULL)
		MemoryContextReset(context);
	table = NULL;
	topics = NIL;
	due_count = due_taken = 0;
	next = reload_at = DT_NOEND;
	loaded = false;
}

/* Reads what is parked, in the current transaction, by a user who may. */
void
outbox_message_blocks_load(void)
{
	OutboxInboxOwner owner = outbox_message_owner();

	outbox_message_blocks_forget();
	scope = policy_scope();
	if ((scope == OUTBOX_INBOX_SCOPE_NONE ||
		 scope == OUTBOX_INBOX_SCOPE_KEY) &&
		!outbox_inbox_parked_release(&owner, outbox_message_is_keyed()))
		reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000);
	outbox_inbox_parked_load(&owner, scope, add);
	loaded = true;
	loaded_after = outbox_partitions_readings();
}

/* Is it known what is parked? Not of a partition that another worker has moved
 * since: it may have parked what has failed then. */
bool
outbox_message_blocks_are_loaded(void)
{
	return loaded && scope == policy_scope() &&
		   loaded_after == outbox_partitions_readings() &&
		   (reload_at == DT_NOEND || GetCurrentTimestamp() < reload_at);
}

/* Must a message wait, since another one is parked? */
bool
outbox_message_blocks_has(const OutboxMessage *message)
{
	OutboxInboxBlock block;
	OutboxMessageBlockId id;

	if (table == NULL || hash_get_num_entries(table) == 0)
		return false;
	block = block_of(message);
	if (block.scope == OUTBOX_INBOX_SCOPE_NONE)
		return false;
	id = id_of(&block);
	return hash_search(table, &id, HASH_FIND, NULL) != NULL;
}

/* A message has been parked, and is tried again then. */
void
outbox_message_blocks_add(const OutboxMessage *message,
						  TimestampTz next_attempt)
{
	OutboxInboxBlock block = block_of(message);

	block.next_attempt = next_attempt;
	add(&block);
}

/* A message has been parked behind another one, or, if its partition is read
 * once more, before it. */
void
outbox_message_blocks_queue(const OutboxMessage *message)
{
	OutboxInboxBlock block = block_of(message);
	OutboxMessageBlockId id = id_of(&block);
	OutboxMessageBlock *entry = hash_search(table, &id, HASH_FIND, NULL);

	if (entry != NULL)
		entry->from = Min(entry->from, message->offset);
}

/* The first message of a block is tried then. */
void
outbox_message_blocks_set(OutboxMessageBlock *entry, TimestampTz next_attempt)
{
	entry->block.next_attempt = next_attempt;
	next = Min(next, next_attempt);
}

/* Nothing of a block is parked any more. */
void
outbox_message_blocks_remove(OutboxMessageBlock *entry)
{
	hash_search(table, &entry->id, HASH_REMOVE, NULL);
}

/* Finds what is due, and when the first of the others is. */
static void
look(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	OutboxMessageBlock *entry;

	due_count = due_taken = 0;
	if (table == NULL || now < next)
		return;
	next = DT_NOEND;
	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->block.next_attempt <= now && due_count < DUE_MAX)
			due[due_count++] = entry;
		else
			next = Min(next, entry->block.next_attempt);
	}
}

/* A block that is due, another one each time; NULL if there is none. */
OutboxMessageBlock *
outbox_message_blocks_due(TimestampTz now)
{
	if (due_taken == due_count)
		look(now);
	return due_taken < due_count ? due[due_taken++] : NULL;
}

/* When to ask for one that is due, or to read all again */
TimestampTz
outbox_message_blocks_next(void)
{
	if (!loaded)
		return 0;
	return due_taken < due_count ? 0 : Min(next, reload_at);
}

static bool
has_block(const OutboxInboxBlock *block)
{
	OutboxMessageBlockId id = id_of(block);

	return table != NULL && hash_search(table, &id, HASH_FIND, NULL) != NULL;
}

/* Lets the intake read partitions again that are not blocked any more. */
static void
release_partitions(void)
{
	ListCell *cell;

	foreach (cell, held)
	{
		OutboxPartition *partition = lfirst(cell);
		OutboxInboxBlock block = {.scope = OUTBOX_INBOX_SCOPE_PARTITION,
								  .topic = partition->topic,
								  .partition = partition->number};

		if (has_block(&block))
			continue;
		outbox_queue_drop(partition);
		outbox_partition_block(partition, false);
		held = foreach_delete_current(held, cell);
	}
}

/* Keeps the intake from reading those that are; some may have been found since
 * the last time. */
static void
hold_partitions(void)
{
	HASH_SEQ_STATUS scan;
	OutboxMessageBlock *entry;

	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		OutboxPartition *partition;
		MemoryContext old_context;

		if (entry->block.scope != OUTBOX_INBOX_SCOPE_PARTITION)
			continue;
		partition =
			outbox_partition_find(entry->block.topic, entry->block.partition);
		if (partition == NULL || partition->blocked)
			continue;
		outbox_queue_drop(partition);
		outbox_partition_block(partition, true);
		old_context = MemoryContextSwitchTo(TopMemoryContext);
		held = list_append_unique_ptr(held, partition);
		MemoryContextSwitchTo(old_context);
	}
}

/* Tells the intake what is not to be read; what there is of it in the queue is
 * dropped. Not while a transaction handles that. */
void
outbox_message_blocks_tell(void)
{
	OutboxInboxBlock all = {.scope = OUTBOX_INBOX_SCOPE_ALL};
	bool halt = has_block(&all);

	if ((halt || halted) && outbox_partitions_halt(halt))
		outbox_queue_clear();
	halted = halt;
	if (held != NIL)
		release_partitions();
	if (table != NULL && scope == OUTBOX_INBOX_SCOPE_PARTITION)
		hold_partitions();
}
