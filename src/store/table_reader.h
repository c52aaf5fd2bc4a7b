/*-------------------------------------------------------------------------
 *
 * table_reader.h
 *	  Reads one of our tables without SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TABLE_READER_H
#define OUTBOX_TABLE_READER_H

#include "outbox.h"

#include "executor/tuptable.h"

/* What a table must look like */
typedef struct OutboxTableShape
{
	const Oid *types; /* of its first columns, which are read */
	int columns;      /* how many these are */
	bool has_more;    /* it may have others behind them */
} OutboxTableShape;

/* Takes a row, whose values are there until it returns; false = no more */
typedef bool (*OutboxRowConsumer)(TupleTableSlot *row, void *arg);

extern void outbox_table_read(Oid table, const OutboxTableShape *shape,
							  OutboxRowConsumer consumer, void *arg);

#endif /* OUTBOX_TABLE_READER_H */
