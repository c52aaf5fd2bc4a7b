/*-------------------------------------------------------------------------
 *
 * xact.h
 *	  Events and the end of the transaction that emitted them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_XACT_H
#define OUTBOX_XACT_H

#include "outbox.h"

#include "datatype/timestamp.h"

extern void outbox_xact_install_hooks(void);
extern void outbox_xact_join(bool by_relay);
extern void outbox_xact_add_from(uint32 origin, Datum *values, bool *nulls,
								 bool delayed);
extern void outbox_xact_add(Datum *values, bool *nulls, bool delayed);
extern void outbox_xact_note_addressed(void);
extern void outbox_xact_note_due(TimestampTz due);

#endif /* OUTBOX_XACT_H */
