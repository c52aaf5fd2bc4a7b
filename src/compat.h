/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The whole version story: every difference between the PostgreSQL
 *	  versions that outbox supports. Wrappers have the newest signature.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_COMPAT_H
#define OUTBOX_COMPAT_H

#include "access/brin_revmap.h"
#include "access/genam.h"
#include "access/rmgr.h"
#include "access/xloginsert.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "commands/sequence.h"
#include "common/base64.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "outbox needs PostgreSQL 15 or newer"
#endif

/* PostgreSQL 19 lets DDL on databases interrupt such workers by itself */
#ifndef BGWORKER_INTERRUPTIBLE
#define BGWORKER_INTERRUPTIBLE 0
#endif

/* known to later minor releases only */
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

#ifndef PG_MODULE_MAGIC_EXT
#define PG_MODULE_MAGIC_EXT(...) PG_MODULE_MAGIC
#endif

/* Generated columns that are not stored came with 18. */
#ifdef ATTRIBUTE_GENERATED_VIRTUAL
#define OUTBOX_GENERATED_VIRTUAL ATTRIBUTE_GENERATED_VIRTUAL
#else
#define OUTBOX_GENERATED_VIRTUAL '\1'
#endif

/* What a virtual generated column is computed by */
static inline Node *
outbox_generation_expression(Relation rel, AttrNumber number)
{
#if PG_VERSION_NUM >= 180000
	return build_generation_expression(rel, number);
#else
	(void) rel;
	(void) number;
	return NULL;
#endif
}

/* An expression over a row of the table, the first relation in it, without
 * virtual generated columns */
static inline Node *
outbox_expand_generated_columns(Node *expr, Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return expand_generated_columns_in_expr(expr, rel, 1);
#else
	(void) rel;
	return expr;
#endif
}

/* Named wait events came with 17; before, all extensions share one. */
static inline uint32
outbox_wait_event_new(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* pg_b64_decode(), to whose result 18 has given another type */
static inline int
outbox_b64_decode(const char *src, int bytes, char *dst, int dst_bytes)
{
#if PG_VERSION_NUM >= 180000
	return pg_b64_decode(src, bytes, (uint8 *) dst, dst_bytes);
#else
	return pg_b64_decode(src, bytes, dst, dst_bytes);
#endif
}

/* pg_b64_encode(), likewise */
static inline int
outbox_b64_encode(const char *src, int bytes, char *dst, int dst_bytes)
{
#if PG_VERSION_NUM >= 180000
	return pg_b64_encode((const uint8 *) src, bytes, dst, dst_bytes);
#else
	return pg_b64_encode(src, bytes, dst, dst_bytes);
#endif
}

/* Is it JSON? It must be UTF-8. */
static inline bool
outbox_json_is_valid(const char *json, int bytes)
{
#if PG_VERSION_NUM >= 170000
	JsonLexContext *context =
		makeJsonLexContextCstringLen(NULL, json, bytes, PG_UTF8, false);
#else
	JsonLexContext *context = makeJsonLexContextCstringLen(
		unconstify(char *, json), bytes, PG_UTF8, false);
#endif

	return pg_parse_json(context, &nullSemAction) == JSON_SUCCESS;
}

/* ExecInsertIndexTuples() of a plain insert, whose errors are raised */
static inline void
outbox_insert_index_tuples(ResultRelInfo *rel_info, TupleTableSlot *slot,
						   EState *estate)
{
#if PG_VERSION_NUM >= 160000
	ExecInsertIndexTuples(rel_info, slot, estate, false, false, NULL, NIL,
						  false);
#else
	ExecInsertIndexTuples(rel_info, slot, estate, false, false, NULL, NIL);
#endif
}

/* brinRevmapInitialize() and brinGetTupleForHeapBlock(), for no snapshot */
static inline BrinRevmap *
outbox_brin_revmap(Relation index, BlockNumber *pages_per_range)
{
#if PG_VERSION_NUM >= 170000
	return brinRevmapInitialize(index, pages_per_range);
#else
	return brinRevmapInitialize(index, pages_per_range, NULL);
#endif
}

static inline BrinTuple *
outbox_brin_tuple(BrinRevmap *revmap, BlockNumber block, Buffer *buffer,
				  OffsetNumber *offset)
{
#if PG_VERSION_NUM >= 170000
	return brinGetTupleForHeapBlock(revmap, block, buffer, offset, NULL,
									BUFFER_LOCK_SHARE);
#else
	return brinGetTupleForHeapBlock(revmap, block, buffer, offset, NULL,
									BUFFER_LOCK_SHARE, NULL);
#endif
}

/* expression_tree_walker(), whose headers before 16 do not tell C23 what a
 * walker's arguments are */
static inline bool
outbox_walk_expression(Node *node, bool (*walker)(Node *, void *),
					   void *context)
{
#if PG_VERSION_NUM >= 160000
	return expression_tree_walker(node, walker, context);
#else
	return expression_tree_walker(node, (bool (*)()) walker, context);
#endif
}

/* Logs the page of a sequence, with its one row. */
static inline XLogRecPtr
outbox_log_sequence(Relation rel, Buffer buffer, HeapTuple tuple)
{
	xl_seq_rec record;

#if PG_VERSION_NUM >= 160000
	record.locator = rel->rd_locator;
#else
	record.node = rel->rd_node;
#endif
	XLogBeginInsert();
	XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
	XLogRegisterData((char *) &record, sizeof(record));
	XLogRegisterData((char *) tuple->t_data, tuple->t_len);
	return XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
}

/* The index of the primary key, which is not deferrable */
static inline Oid
outbox_primary_key_index(Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(rel, false);
#else
	return RelationGetPrimaryKeyIndex(rel);
#endif
}

/* index_beginscan() without ordering */
static inline IndexScanDesc
outbox_index_beginscan(Relation rel, Relation index, Snapshot snapshot,
					   int keys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(rel, index, snapshot, NULL, keys, 0);
#else
	return index_beginscan(rel, index, snapshot, keys, 0);
#endif
}

/* Has the role EXECUTE on the function? */
static inline bool
outbox_may_execute(Oid role, Oid function)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) ==
		   ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

#endif /* OUTBOX_COMPAT_H */
