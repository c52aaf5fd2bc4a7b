/*-------------------------------------------------------------------------
 *
 * record.h
 *	  From a row of the outbox to a record for the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RECORD_H
#define OUTBOX_RECORD_H

#include "sink.h"
#include "store.h"

extern void outbox_record_from_event(OutboxRecord *record,
									 const OutboxEvent *event);
extern int64 outbox_record_bytes(const OutboxRecord *record);

#endif /* OUTBOX_RECORD_H */
