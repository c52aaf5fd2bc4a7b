/*-------------------------------------------------------------------------
 *
 * protect.h
 *	  Refuses commands that would break our own objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PROTECT_H
#define OUTBOX_PROTECT_H

#include "outbox.h"

#include "nodes/nodes.h"

extern void outbox_protect_check(Node *stmt);

#endif /* OUTBOX_PROTECT_H */
