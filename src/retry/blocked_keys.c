/*-------------------------------------------------------------------------
 *
 * blocked_keys.c
 *	  The relay's memory of what is blocked, so that each event of the stream
 *	  costs no more than a look into a hash table while something is, and
 *	  nothing while nothing is. The truth is in outbox.parked.
 *
 * There is one entry for each blocked topic and key, whatever the number of
 * events behind it, and one for all parked events that block no other. A topic
 * that somebody has paused is a blocked one, of which nothing is tried. With a
 * hundred thousand of them each look misses the processor's caches, so a
 * filter, small enough for these, comes before the table: a bit for each
 * entry, among FILTER_BITS.
 *
 * Now and then all is read anew. What the table does not tell, when a block
 * may be tried, and which of its events must be alone, outlives that.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "retry/blocked_keys.h"
#include "shared/my_relay.h"
#include "store/pending.h"

#define FILTER_BITS 16

static MemoryContext context = NULL;
static HTAB *table = NULL;
static int entries_of[OUTBOX_BLOCK_EVENT + 1]; /* by their scope */
static int paused = 0; /* of these, topics that somebody has paused */
static uint64 *filter = NULL;
static uint64 filter_mask; /* of its bits, a power of two, less one */
static bool loaded = false;
static uint32 generation = 0;
static uint32 changes = 0; /* of outbox.parked from outside, that we know */
static int64 parked = 0;

/* What outlives the entry that it is of, until there is another one */
typedef struct BackOff
{
	OutboxBlockId id;
	uint64 alone_upto;
	int held;
	TimestampTz not_before;
} BackOff;

static HTAB *back_offs = NULL; /* while the table is read */

/* One half of a key's hash: hashtextextended(), with the half as its seed */
static uint64
hash_key(const text *key, int half)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(key),
							   VARSIZE_ANY_EXHDR(key), half);
}

/* One half of an entry's id; key_hash is 0 but for scope KEY, and the topic
 * empty for EVENT. */
static uint64
hash_block(OutboxBlockScope scope, const char *topic, int topic_len,
		   uint64 key_hash, int half)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) topic, topic_len,
									  (uint64) scope * 2 + half);

	return hash_combine64(hash, key_hash);
}

/* The hash table's hash of an id, which is one already. The filter uses the
 * other half. */
static uint32
hash_id(const void *id, Size size)
{
	(void) size;
	return (uint32) ((const OutboxBlockId *) id)->hash[1];
}

/* Called once, when the relay has attached. */
void
outbox_blocked_keys_init(void)
{
	context = AllocSetContextCreate(TopMemoryContext, "outbox blocks",
									ALLOCSET_DEFAULT_SIZES);
}

static HTAB *
create_table(const char *name, MemoryContext parent, Size entry_size)
{
	HASHCTL ctl = {.keysize = sizeof(OutboxBlockId),
				   .entrysize = entry_size,
				   .hash = hash_id,
				   .hcxt = parent};

	return hash_create(name, 64, &ctl,
					   HASH_ELEM | HASH_FUNCTION | HASH_CONTEXT);
}

/*
 * Keeps the back-offs of all entries. If others have changed outbox.parked,
 * what they had locked may be free now.
 */
static void
keep_back_offs(bool changed)
{
	HASH_SEQ_STATUS scan;
	OutboxBlockedKey *entry;

	/* those of a look that did not succeed */
	if (back_offs != NULL || table == NULL)
		return;
	back_offs =
		create_table("outbox back-offs", TopMemoryContext, sizeof(BackOff));
	outbox_blocked_keys_scan(&scan);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		BackOff *back_off;

		if (entry->not_before == 0 && entry->alone_upto == 0)
			continue;
		back_off = hash_search(back_offs, &entry->id, HASH_ENTER, NULL);
		back_off->alone_upto = entry->alone_upto;
		back_off->held = entry->held;
		back_off->not_before =
			(changed && entry->held > 0) ? 0 : entry->not_before;
	}
}

static void
take_back_off(OutboxBlockedKey *entry)
{
	BackOff *back_off = NULL;

	if (back_offs != NULL)
		back_off = hash_search(back_offs, &entry->id, HASH_FIND, NULL);
	entry->alone_upto = back_off ? back_off->alone_upto : 0;
	entry->held = back_off ? back_off->held : 0;
	entry->not_before = back_off ? back_off->not_before : 0;
}

/* Forgets everything. */
static void
clear(void)
{
	MemoryContextReset(context);
	filter = NULL;
	table = create_table("outbox blocks", context, sizeof(OutboxBlockedKey));
	memset(entries_of, 0, sizeof(entries_of));
	paused = 0;
	parked = 0;
}

/* Queued events have no time: nobody knows that they would fail. */
static void
set_open(OutboxBlockedKey *entry)
{
	const OutboxBlock *block = &entry->block;

	if (block->scope == OUTBOX_BLOCK_EVENT)
		entry->open = block->queued > 0;
	else
		entry->open =
			block->scope == OUTBOX_BLOCK_KEY && block->next_attempt == 0;
}

/* Remembers a block; those of scope EVENT have one entry together. */
static OutboxBlockedKey *
enter(const OutboxBlock *block, const char *topic, int topic_len, bool *found)
{
	OutboxBlockedKey *entry;
	OutboxBlockId id;
	char *name;

	for (int i = 0; i < 2; i++)
		id.hash[i] =
			hash_block(block->scope, topic, topic_len, block->key_hash[i], i);
	entry = hash_search(table, &id, HASH_ENTER, found);
	if (*found)
		return entry;
	entries_of[block->scope]++;
	paused += block->paused;
	name = MemoryContextAllocZero(context, topic_len + 1);
	memcpy(name, topic, topic_len);
	entry->block = *block;
	entry->block.topic = name;
	entry->failed = false;
	set_open(entry);
	take_back_off(entry);
	return entry;
}

static void
add(const OutboxBlock *block)
{
	const char *topic = block->scope == OUTBOX_BLOCK_EVENT ? "" : block->topic;
	bool found;

	enter(block, topic, (int) strlen(topic), &found);
	parked += block->rows;
}

/* Where the filter has the bit of an id, whose mask it returns */
static uint64
filter_bit(uint64 hash, uint64 **word)
{
	uint64 bit = hash & filter_mask;

	*word = &filter[bit / 64];
	return UINT64CONST(1) << (bit % 64);
}

static void
add_to_filter(const OutboxBlockedKey *entry)
{
	uint64 *word;
	uint64 mask = filter_bit(entry->id.hash[0], &word);

	*word |= mask;
}

/* Makes the filter of the table, in which nothing is removed later. */
static void
build_filter(void)
{
	uint64 bits = pg_nextpower2_64(
		Max((uint64) hash_get_num_entries(table) * FILTER_BITS, 64));
	HASH_SEQ_STATUS scan;
	OutboxBlockedKey *entry;

	if (filter != NULL)
		pfree(filter);
	filter = MemoryContextAllocZero(context, bits / 8);
	filter_mask = bits - 1;
	outbox_blocked_keys_scan(&scan);
	while ((entry = hash_seq_search(&scan)) != NULL)
		add_to_filter(entry);
}

/* Reads what is blocked. Nothing may be published before it is known. */
OutboxStoreStatus
outbox_blocked_keys_load(void)
{
	uint32 count = pg_atomic_read_u32(&outbox_my_relay.db->parked_changes);
	OutboxStoreStatus status;

	keep_back_offs(count != changes);
	clear();
	status = outbox_parked_load(outbox_my_relay.name, add);
	if (status == OUTBOX_STORE_OK)
	{
		build_filter();
		if (back_offs != NULL)
			hash_destroy(back_offs);
		back_offs = NULL;
		loaded = true;
		generation++;
		changes = count;
		outbox_blocked_keys_count(0);
	}
	return status;
}

/* outbox.parked has changed: what is blocked must be read again. */
void
outbox_blocked_keys_reload(void)
{
	loaded = false;
}

/* Is it known what is blocked, as far as others have told us? */
bool
outbox_blocked_keys_is_loaded(void)
{
	return loaded &&
		   pg_atomic_read_u32(&outbox_my_relay.db->parked_changes) == changes;
}

/* So many more events are parked, or fewer. */
void
outbox_blocked_keys_count(int64 more)
{
	parked = Max(parked + more, 0);
	pg_atomic_write_u64(&outbox_my_relay.slot->parked, (uint64) parked);
	outbox_pending_changed(outbox_my_relay.db);
}

/* Is anything parked that is not a dead letter, or a topic paused? */
bool
outbox_blocked_keys_any(void)
{
	return table != NULL && hash_get_num_entries(table) > 0;
}

/* Is anything parked that is tried again, or waits for that? */
bool
outbox_blocked_keys_any_failed(void)
{
	return table != NULL && hash_get_num_entries(table) > paused;
}

static OutboxBlockedKey *
find_name(OutboxBlockScope scope, const char *name, int name_len,
		  const text *key)
{
	OutboxBlockId id;
	uint64 *word;
	uint64 mask;

	if (entries_of[scope] == 0)
		return NULL;
	id.hash[0] =
		hash_block(scope, name, name_len, key ? hash_key(key, 0) : 0, 0);
	mask = filter_bit(id.hash[0], &word);
	if ((*word & mask) == 0)
		return NULL;
	id.hash[1] =
		hash_block(scope, name, name_len, key ? hash_key(key, 1) : 0, 1);
	return hash_search(table, &id, HASH_FIND, NULL);
}

static OutboxBlockedKey *
find(OutboxBlockScope scope, const text *topic, const text *key)
{
	if (topic == NULL)
		return find_name(scope, "", 0, NULL);
	return find_name(scope, VARDATA_ANY(topic), (int) VARSIZE_ANY_EXHDR(topic),
					 key);
}

static bool
is_paused(const char *name, int name_len)
{
	OutboxBlockedKey *entry = NULL;

	if (paused > 0)
		entry = find_name(OUTBOX_BLOCK_TOPIC, name, name_len, NULL);
	return entry != NULL && entry->block.paused;
}

/* Has somebody paused a topic? */
bool
outbox_blocked_keys_any_paused(void)
{
	return paused > 0;
}

/* Has somebody paused this one? */
bool
outbox_blocked_keys_is_paused(const char *topic)
{
	return is_paused(topic, (int) strlen(topic));
}

/*
 * An event of the stream is being parked, in that scope: those behind it queue
 * from now on, without a look into outbox.parked. next_attempt is 0 if it is
 * only queued.
 */
void
outbox_blocked_keys_note(OutboxBlockScope scope, const OutboxEvent *event,
						 TimestampTz next_attempt)
{
	OutboxBlock block = {.scope = scope,
						 .rows = 1,
						 .queued = (next_attempt == 0) ? 1 : 0,
						 .next_attempt = next_attempt};
	OutboxBlockedKey *entry;
	bool any;
	bool found;

	/* all will be read before anything else is published */
	if (!loaded)
		return;
	if (is_paused(VARDATA_ANY(event->topic),
				  (int) VARSIZE_ANY_EXHDR(event->topic)))
		block.scope = scope = OUTBOX_BLOCK_TOPIC;
	any = (scope == OUTBOX_BLOCK_EVENT);
	for (int i = 0; i < 2 && scope == OUTBOX_BLOCK_KEY; i++)
		block.key_hash[i] = hash_key(event->key, i);
	entry = enter(&block, any ? "" : VARDATA_ANY(event->topic),
				  any ? 0 : (int) VARSIZE_ANY_EXHDR(event->topic), &found);
	generation++;
	if (!found)
	{
		if ((uint64) hash_get_num_entries(table) * FILTER_BITS >
			2 * (filter_mask + 1))
			build_filter();
		add_to_filter(entry);
		return;
	}
	/* what is before it in its queue decides, if there is one */
	entry->block.rows++;
	entry->block.queued += block.queued;
	if (next_attempt != 0 && (entry->block.next_attempt == 0 ||
							  next_attempt < entry->block.next_attempt))
		entry->block.next_attempt = next_attempt;
	if (any)
		set_open(entry);
}

/* Changes whenever there may be other blocks than before */
uint32
outbox_blocked_keys_generation(void)
{
	return generation;
}

/* Must this event queue behind another one? */
bool
outbox_blocked_keys_has(const OutboxEvent *event)
{
	if (!outbox_blocked_keys_any())
		return false;
	return find(OUTBOX_BLOCK_TOPIC, event->topic, NULL) != NULL ||
		   (event->key != NULL &&
			find(OUTBOX_BLOCK_KEY, event->topic, event->key) != NULL);
}

/* The block that a parked event belongs to; NULL if it is not known yet */
OutboxBlockedKey *
outbox_blocked_keys_find(const OutboxEvent *event)
{
	OutboxBlockedKey *entry = find(OUTBOX_BLOCK_TOPIC, event->topic, NULL);

	if (entry != NULL)
		return entry;
	if (event->blocking && event->key != NULL)
		return find(OUTBOX_BLOCK_KEY, event->topic, event->key);
	return find(OUTBOX_BLOCK_EVENT, NULL, NULL);
}

/* Begins a scan of all entries, for hash_seq_search(). */
void
outbox_blocked_keys_scan(HASH_SEQ_STATUS *scan)
{
	hash_seq_init(scan, table);
}
