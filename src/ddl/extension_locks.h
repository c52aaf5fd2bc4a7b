/*-------------------------------------------------------------------------
 *
 * extension_locks.h
 *	  What DROP EXTENSION locks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EXTENSION_LOCKS_H
#define OUTBOX_EXTENSION_LOCKS_H

#include "outbox.h"

#include "nodes/nodes.h"

extern void outbox_extension_locks_lock(Node *stmt);

#endif /* OUTBOX_EXTENSION_LOCKS_H */
