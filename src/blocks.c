/*-------------------------------------------------------------------------
 *
 * blocks.c
 *	  The relay's memory of what is blocked, so that each event of the stream
 *	  costs no more than a look into a hash table while something is, and
 *	  nothing while nothing is. The truth is in outbox.parked.
 *
 * There is one entry for each blocked topic and key, whatever the number of
 * events behind it, and one for all parked events that block no other.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "blocks.h"
#include "common/hashfn.h"
#include "expired.h"
#include "utils/memutils.h"

static OutboxDatabase *db;
static const char *relay;
static MemoryContext context = NULL;
static HTAB *table = NULL;
static int entries_of[OUTBOX_BLOCK_EVENT + 1]; /* by their scope */
static bool loaded = false;
static uint32 changes = 0; /* of outbox.parked from outside, that we know */
static int64 parked = 0;

static OutboxBlockId
make_id(OutboxBlockScope scope, const char *topic, int topic_len,
		const char *key, int key_len)
{
	OutboxBlockId id;

	for (int i = 0; i < 2; i++)
	{
		uint64 seed = (uint64) scope * 2 + i;

		id.hash[i] = hash_bytes_extended((const unsigned char *) topic,
										 topic_len, seed);
		id.hash[i] = hash_bytes_extended((const unsigned char *) key, key_len,
										 id.hash[i]);
	}
	return id;
}

/* Called once, when the relay has attached. */
void
outbox_blocks_init(OutboxDatabase *database, const char *relay_name)
{
	db = database;
	relay = relay_name;
	context = AllocSetContextCreate(TopMemoryContext, "outbox blocks",
									ALLOCSET_DEFAULT_SIZES);
}

/* Forgets everything. */
static void
clear(void)
{
	HASHCTL ctl = {.keysize = sizeof(OutboxBlockId),
				   .entrysize = sizeof(OutboxBlockEntry)};

	MemoryContextReset(context);
	ctl.hcxt = context;
	table = hash_create("outbox blocks", 64, &ctl,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	memset(entries_of, 0, sizeof(entries_of));
	parked = 0;
}

/* Remembers a block; those of scope EVENT have one entry together. */
static void
add(const OutboxBlock *block)
{
	const char *topic = block->scope == OUTBOX_BLOCK_EVENT ? "" : block->topic;
	const char *key = block->scope == OUTBOX_BLOCK_KEY ? block->key : "";
	OutboxBlockId id = make_id(block->scope, topic, (int) strlen(topic), key,
							   (int) strlen(key));
	OutboxBlockEntry *entry;
	bool found;

	entry = hash_search(table, &id, HASH_ENTER, &found);
	entries_of[block->scope] += !found;
	entry->block = *block;
	entry->block.topic = MemoryContextStrdup(context, topic);
	entry->block.key = MemoryContextStrdup(context, key);
	/* queued events have no time: nobody knows that they would fail */
	entry->open =
		(block->scope == OUTBOX_BLOCK_EVENT)
			? block->queued > 0
			: block->scope == OUTBOX_BLOCK_KEY && block->next_attempt == 0;
	entry->failed = false;
	entry->alone_upto = 0;
	entry->not_before = 0;
	parked += block->rows;
}

/* Reads what is blocked. Nothing may be published before it is known. */
OutboxStoreStatus
outbox_blocks_load(void)
{
	uint32 count = pg_atomic_read_u32(&db->parked_changes);
	OutboxStoreStatus status;

	clear();
	outbox_expired_look();
	status = outbox_parked_load(relay, add);
	if (status == OUTBOX_STORE_OK)
	{
		loaded = true;
		changes = count;
		outbox_blocks_count(0);
	}
	return status;
}

/* outbox.parked has changed: what is blocked must be read again. */
void
outbox_blocks_reload(void)
{
	loaded = false;
}

/* Is it known what is blocked, as far as others have told us? */
bool
outbox_blocks_is_loaded(void)
{
	return loaded && pg_atomic_read_u32(&db->parked_changes) == changes;
}

/* So many more events are parked, or fewer. */
void
outbox_blocks_count(int64 more)
{
	parked = Max(parked + more, 0);
	pg_atomic_write_u64(&db->parked, (uint64) parked);
}

/* Is anything parked that is not a dead letter? */
bool
outbox_blocks_any(void)
{
	return table != NULL && hash_get_num_entries(table) > 0;
}

/* With many entries a look is not cheap: there is none for nothing. */
static OutboxBlockEntry *
find(OutboxBlockScope scope, const text *topic, const text *key)
{
	OutboxBlockId id;

	if (entries_of[scope] == 0)
		return NULL;
	id =
		make_id(scope, topic ? VARDATA_ANY(topic) : "",
				topic ? VARSIZE_ANY_EXHDR(topic) : 0,
				key ? VARDATA_ANY(key) : "", key ? VARSIZE_ANY_EXHDR(key) : 0);
	return hash_search(table, &id, HASH_FIND, NULL);
}

/* Must this event queue behind another one? */
bool
outbox_blocks_has(const OutboxEvent *event)
{
	if (!outbox_blocks_any())
		return false;
	return find(OUTBOX_BLOCK_TOPIC, event->topic, NULL) != NULL ||
		   (event->key != NULL &&
			find(OUTBOX_BLOCK_KEY, event->topic, event->key) != NULL);
}

/* The block that a parked event belongs to; NULL if it is not known yet */
OutboxBlockEntry *
outbox_blocks_find(const OutboxEvent *event)
{
	OutboxBlockEntry *entry = find(OUTBOX_BLOCK_TOPIC, event->topic, NULL);

	if (entry != NULL)
		return entry;
	if (event->blocking && event->key != NULL)
		return find(OUTBOX_BLOCK_KEY, event->topic, event->key);
	return find(OUTBOX_BLOCK_EVENT, NULL, NULL);
}

/* Begins a scan of all entries, for hash_seq_search(). */
void
outbox_blocks_scan(HASH_SEQ_STATUS *scan)
{
	hash_seq_init(scan, table);
}
