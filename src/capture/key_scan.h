/*-------------------------------------------------------------------------
 *
 * key_scan.h
 *	  The rows of a table in the order of its primary key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_KEY_SCAN_H
#define OUTBOX_CAPTURE_KEY_SCAN_H

#include "outbox.h"

#include "executor/tuptable.h"
#include "utils/array.h"
#include "utils/relcache.h"

typedef struct OutboxKeyScan OutboxKeyScan;

/* What has become of the row of an entry */
typedef enum OutboxKeyRow
{
	OUTBOX_KEY_ROW_LOCKED, /* it is ours until the end of the transaction */
	OUTBOX_KEY_ROW_GONE,   /* or the entry is old */
	OUTBOX_KEY_ROW_BUSY,   /* somebody else has locked or changed it, or a
							* function in this transaction has */
} OutboxKeyRow;

extern Oid outbox_key_scan_index(Relation rel);
extern ArrayType *outbox_key_scan_last(Relation rel, Relation index);
extern OutboxKeyScan *outbox_key_scan_begin(Relation rel, Relation index,
											ArrayType *from, ArrayType *upto);
extern bool outbox_key_scan_next(OutboxKeyScan *scan);
extern bool outbox_key_scan_is_first(OutboxKeyScan *scan);
extern OutboxKeyRow outbox_key_scan_lock(OutboxKeyScan *scan, bool wait,
										 TupleTableSlot **row);
extern ArrayType *outbox_key_scan_key(const OutboxKeyScan *scan);
extern void outbox_key_scan_end(OutboxKeyScan *scan);

#endif /* OUTBOX_CAPTURE_KEY_SCAN_H */
