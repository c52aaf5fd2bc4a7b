/*-------------------------------------------------------------------------
 *
 * deleted_rows.c
 *	  Rows that the current transaction has deleted from views of events,
 *	  which therefore do not show them any more. The events themselves stay.
 *
 * A row is known by its view and its event's id. As the same id may be inserted
 * again, a deletion holds for what was in the transaction's buffer by then.
 * A subtransaction that is rolled back takes its deletions along: each leaves
 * a note of what was there before.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "emit/deleted_rows.h"

typedef struct RowKey
{
	pg_uuid_t event_id;
	uint32 view;
} RowKey;

typedef struct DeletedRow
{
	RowKey key;
	int64 until; /* this place in the buffer, exclusive; 0 = not deleted */
} DeletedRow;

/* What a deletion has changed, in which subtransaction */
typedef struct Undo
{
	RowKey key;
	int nest_level;
	int64 until; /* before it */
} Undo;

/* both end with the transaction, in its context */
static HTAB *rows = NULL;
static Undo *undos = NULL;
static int64 undo_count = 0;
static int64 undo_capacity = 0;

static RowKey
key_of(uint32 view, const pg_uuid_t *event_id)
{
	RowKey key = {.event_id = *event_id, .view = view};

	return key;
}

static void
reserve_undo(void)
{
	if (undos == NULL)
	{
		undo_capacity = 16;
		undos = MemoryContextAlloc(TopTransactionContext,
								   undo_capacity * sizeof(Undo));
	}
	else if (undo_count == undo_capacity)
	{
		undos = repalloc_huge(undos, 2 * undo_capacity * sizeof(Undo));
		undo_capacity *= 2;
	}
}

/* The view does not show what came by it with that id before this place in the
 * buffer. */
void
outbox_deleted_rows_add(uint32 view, const pg_uuid_t *event_id, int64 until)
{
	RowKey key = key_of(view, event_id);
	DeletedRow *row;
	bool found;

	reserve_undo();
	if (rows == NULL)
	{
		HASHCTL control = {.keysize = sizeof(RowKey),
						   .entrysize = sizeof(DeletedRow),
						   .hcxt = TopTransactionContext};

		rows = hash_create("outbox deleted rows", 16, &control,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	row = hash_search(rows, &key, HASH_ENTER, &found);
	undos[undo_count].key = key;
	undos[undo_count].nest_level = GetCurrentTransactionNestLevel();
	undos[undo_count].until = found ? row->until : 0;
	undo_count++;
	row->until = until;
}

/* Has what ends at this place in the buffer been deleted from the view? */
bool
outbox_deleted_rows_has(uint32 view, const pg_uuid_t *event_id, int64 offset)
{
	RowKey key = key_of(view, event_id);
	DeletedRow *row;

	if (rows == NULL)
		return false;
	row = hash_search(rows, &key, HASH_FIND, NULL);
	return row != NULL && offset <= row->until;
}

/* A subtransaction ends well: its deletions are its parent's from now on. */
void
outbox_deleted_rows_commit_sub(int nest_level)
{
	for (int64 i = undo_count - 1; i >= 0 && undos[i].nest_level == nest_level;
		 i--)
		undos[i].nest_level--;
}

/* A subtransaction is rolled back, and its deletions with it. Cannot fail. */
void
outbox_deleted_rows_abort_sub(int nest_level)
{
	while (undo_count > 0 && undos[undo_count - 1].nest_level >= nest_level)
	{
		const Undo *undo = &undos[--undo_count];
		DeletedRow *row = hash_search(rows, &undo->key, HASH_FIND, NULL);

		if (row != NULL)
			row->until = undo->until;
	}
}

/* The transaction is over. Its memory goes with it. */
void
outbox_deleted_rows_forget(void)
{
	rows = NULL;
	undos = NULL;
	undo_count = 0;
	undo_capacity = 0;
}
