/*-------------------------------------------------------------------------
 *
 * key_scan.c
 *	  The rows of a table in the order of its primary key, from a key on up to
 *	  another, each locked as by FOR SHARE, in its newest version.
 *
 * The index is read without SQL. So it is sure that it is this index, whatever
 * operators a type has and in which schema; who reads sees each entry, also
 * one whose row is gone, and so can stop at any; and a row that others have
 * locked need not be waited for.
 *
 * Keys are kept, and come back, as the text of their columns.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "capture/key_scan.h"
#include "capture/settings.h"
#include "compat.h"

/* A key where a scan begins or ends; of several columns, those of a row
 * comparison */
typedef struct Bound
{
	ScanKeyData key;
	ScanKeyData members[INDEX_MAX_KEYS];
} Bound;

struct OutboxKeyScan
{
	Relation rel;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *row;
	Bound from;
	Bound upto;
	int columns;                 /* of the key */
	Oid types[INDEX_MAX_KEYS];   /* in the index: names are strings there */
	Datum key[INDEX_MAX_KEYS];   /* of the entry at hand */
	Datum first[INDEX_MAX_KEYS]; /* of the first one */
	bool has_key;
	bool has_first;
	bool is_first;         /* the entry at hand has the key of the first one */
	MemoryContext context; /* of all that */
	MemoryContext key_context; /* has the key of the entry at hand */
};

static bool
is_btree(Oid index)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool is;

	if (!HeapTupleIsValid(tuple))
		return false;
	is = (((Form_pg_class) GETSTRUCT(tuple))->relam == BTREE_AM_OID);
	ReleaseSysCache(tuple);
	return is;
}

/*
 * The index that rows can be read by: that of the primary key, if it is a
 * btree. InvalidOid if there is none.
 */
Oid
outbox_key_scan_index(Relation rel)
{
	Oid index;

	/* finds out which index it is */
	list_free(RelationGetIndexList(rel));
	index = outbox_primary_key_index(rel);
	return OidIsValid(index) && is_btree(index) ? index : InvalidOid;
}

/* The values of a key, from its text */
static void
key_from_text(Relation rel, Relation index, ArrayType *key, Datum *values)
{
	int level = outbox_capture_pin_settings();
	Datum *texts;
	int count;

	deconstruct_array(key, TEXTOID, -1, false, TYPALIGN_INT, &texts, NULL,
					  &count);
	if (count != IndexRelationGetNumberOfKeyAttributes(index))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the primary key of \"%s\" has been changed",
							   RelationGetRelationName(rel))));
	for (int i = 0; i < count; i++)
	{
		AttrNumber number = index->rd_index->indkey.values[i];
		Oid type = getBaseType(
			TupleDescAttr(RelationGetDescr(rel), number - 1)->atttypid);
		Oid input;
		Oid parameter;

		getTypeInputInfo(type, &input, &parameter);
		values[i] = OidInputFunctionCall(input, TextDatumGetCString(texts[i]),
										 parameter, -1);
	}
	outbox_capture_unpin_settings(level);
}

/* Sets a bound: the key and what comes after it, or before it, by the
 * strategy. */
static void
set_bound(Bound *bound, Relation rel, Relation index, ArrayType *key,
		  StrategyNumber strategy)
{
	int columns = IndexRelationGetNumberOfKeyAttributes(index);
	Datum values[INDEX_MAX_KEYS];

	key_from_text(rel, index, key, values);
	if (columns == 1)
	{
		Oid type = index->rd_opcintype[0];
		Oid compare =
			get_opfamily_member(index->rd_opfamily[0], type, type, strategy);

		ScanKeyEntryInitialize(&bound->key, 0, 1, strategy, type,
							   index->rd_indcollation[0], get_opcode(compare),
							   values[0]);
		return;
	}
	for (int i = 0; i < columns; i++)
		ScanKeyEntryInitializeWithInfo(
			&bound->members[i],
			SK_ROW_MEMBER | (i == columns - 1 ? SK_ROW_END : 0),
			(AttrNumber) (i + 1), strategy, index->rd_opcintype[i],
			index->rd_indcollation[i],
			index_getprocinfo(index, (AttrNumber) (i + 1), BTORDER_PROC),
			values[i]);
	memset(&bound->key, 0, sizeof(bound->key));
	bound->key.sk_flags = SK_ROW_HEADER;
	bound->key.sk_attno = 1;
	bound->key.sk_strategy = strategy;
	bound->key.sk_argument = PointerGetDatum(bound->members);
}

static OutboxKeyScan *
begin(Relation rel, Relation index)
{
	OutboxKeyScan *scan = palloc0(sizeof(OutboxKeyScan));

	scan->rel = rel;
	scan->index = index;
	scan->columns = IndexRelationGetNumberOfKeyAttributes(index);
	for (int i = 0; i < scan->columns; i++)
		scan->types[i] = TupleDescAttr(RelationGetDescr(index), i)->atttypid;
	scan->row = table_slot_create(rel, NULL);
	scan->context = CurrentMemoryContext;
	scan->key_context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox key", ALLOCSET_SMALL_SIZES);
	return scan;
}

static void
start(OutboxKeyScan *scan, ScanKey keys, int count)
{
	scan->scan = outbox_index_beginscan(scan->rel, scan->index,
										GetActiveSnapshot(), count);
	scan->scan->xs_want_itup = true;
	index_rescan(scan->scan, keys, count, NULL, 0);
}

/*
 * Begins to read the rows from a key on, NULL: from the first one on, up to
 * another. By the active snapshot, which must be younger than the lock on the
 * table; the index is that of outbox_key_scan_index(), locked, too.
 */
OutboxKeyScan *
outbox_key_scan_begin(Relation rel, Relation index, ArrayType *from,
					  ArrayType *upto)
{
	OutboxKeyScan *scan = begin(rel, index);
	ScanKeyData keys[2];

	set_bound(&scan->upto, rel, index, upto, BTLessEqualStrategyNumber);
	keys[0] = scan->upto.key;
	if (from != NULL)
	{
		set_bound(&scan->from, rel, index, from, BTGreaterEqualStrategyNumber);
		keys[1] = scan->from.key;
	}
	start(scan, keys, from != NULL ? 2 : 1);
	return scan;
}

static void
copy_key(OutboxKeyScan *scan, MemoryContext context, const Datum *from,
		 Datum *to)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);

	for (int i = 0; i < scan->columns; i++)
	{
		Form_pg_attribute attribute =
			TupleDescAttr(RelationGetDescr(scan->index), i);

		to[i] = datumCopy(from[i], attribute->attbyval, attribute->attlen);
	}
	MemoryContextSwitchTo(old_context);
}

/* Has the entry at hand the key of the first one? There may be several: of old
 * versions. */
static bool
has_first_key(OutboxKeyScan *scan)
{
	for (int i = 0; i < scan->columns; i++)
	{
		FmgrInfo *compare =
			index_getprocinfo(scan->index, (AttrNumber) (i + 1), BTORDER_PROC);

		if (DatumGetInt32(
				FunctionCall2Coll(compare, scan->index->rd_indcollation[i],
								  scan->key[i], scan->first[i])) != 0)
			return false;
	}
	return true;
}

static bool
next(OutboxKeyScan *scan, ScanDirection direction)
{
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	if (index_getnext_tid(scan->scan, direction) == NULL)
		return false;
	index_deform_tuple(scan->scan->xs_itup, scan->scan->xs_itupdesc, values,
					   nulls);
	scan->has_key = false;
	MemoryContextReset(scan->key_context);
	copy_key(scan, scan->key_context, values, scan->key);
	scan->has_key = true;
	return true;
}

/* Goes to the next entry; false if there is none. */
bool
outbox_key_scan_next(OutboxKeyScan *scan)
{
	if (!next(scan, ForwardScanDirection))
		return false;
	if (!scan->has_first)
		copy_key(scan, scan->context, scan->key, scan->first);
	scan->is_first =
		!scan->has_first || (scan->is_first && has_first_key(scan));
	scan->has_first = true;
	return true;
}

/* Has the entry at hand the key at which the scan has begun? Who would stop
 * there would not get anywhere. */
bool
outbox_key_scan_is_first(OutboxKeyScan *scan)
{
	return scan->is_first;
}

/*
 * Locks the row of the entry at hand until the end of the transaction; row
 * becomes its newest version, valid until the next entry. If others have locked
 * it, wait: until it is free, or lock_timeout ends that with 55P03.
 */
OutboxKeyRow
outbox_key_scan_lock(OutboxKeyScan *scan, bool wait, TupleTableSlot **row)
{
	TM_FailureData failure;
	ItemPointerData tid;

	*row = scan->row;
	if (!index_fetch_heap(scan->scan, scan->row))
		return OUTBOX_KEY_ROW_GONE;
	tid = scan->row->tts_tid;
	switch (table_tuple_lock(scan->rel, &tid, GetActiveSnapshot(), scan->row,
							 GetCurrentCommandId(true), LockTupleShare,
							 wait ? LockWaitBlock : LockWaitSkip,
							 TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure))
	{
		case TM_Ok:
			return OUTBOX_KEY_ROW_LOCKED;
		case TM_WouldBlock:
			return OUTBOX_KEY_ROW_BUSY;
		case TM_SelfModified:
		case TM_Invisible:
			/* by a function, since the snapshot: the next one has it */
			return OUTBOX_KEY_ROW_BUSY;
		default:
			return OUTBOX_KEY_ROW_GONE;
	}
}

/* The key of the entry at hand, as text, in the current context; NULL if there
 * is none. Also after an error has closed the table. */
ArrayType *
outbox_key_scan_key(const OutboxKeyScan *scan)
{
	Datum texts[INDEX_MAX_KEYS];
	int level;

	if (!scan->has_key)
		return NULL;
	level = outbox_capture_pin_settings();
	for (int i = 0; i < scan->columns; i++)
	{
		Oid output;
		bool is_varlena;

		getTypeOutputInfo(scan->types[i], &output, &is_varlena);
		texts[i] =
			CStringGetTextDatum(OidOutputFunctionCall(output, scan->key[i]));
	}
	outbox_capture_unpin_settings(level);
	return construct_array(texts, scan->columns, TEXTOID, -1, false,
						   TYPALIGN_INT);
}

void
outbox_key_scan_end(OutboxKeyScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->row);
}

/* The last key that the index has, or NULL. Its row may be gone. */
ArrayType *
outbox_key_scan_last(Relation rel, Relation index)
{
	OutboxKeyScan *scan = begin(rel, index);
	ArrayType *last = NULL;

	start(scan, NULL, 0);
	if (next(scan, BackwardScanDirection))
		last = outbox_key_scan_key(scan);
	outbox_key_scan_end(scan);
	return last;
}
