/*-------------------------------------------------------------------------
 *
 * gate.h
 *	  The first lock of every transaction of a session that uses our tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GATE_H
#define OUTBOX_GATE_H

#include "outbox.h"

extern Oid outbox_gate_relation(const char *name);
extern Oid outbox_gate_lock(void);
extern void outbox_gate_refuse(void);

#endif /* OUTBOX_GATE_H */
