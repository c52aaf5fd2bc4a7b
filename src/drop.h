/*-------------------------------------------------------------------------
 *
 * drop.h
 *	  What DROP EXTENSION locks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DROP_H
#define OUTBOX_DROP_H

#include "outbox.h"

#include "nodes/nodes.h"

extern void outbox_drop_lock(Node *stmt);

#endif /* OUTBOX_DROP_H */
