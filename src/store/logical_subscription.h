/*-------------------------------------------------------------------------
 *
 * logical_subscription.h
 *	  Rows of ours never come in by logical replication.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LOGICAL_SUBSCRIPTION_H
#define OUTBOX_LOGICAL_SUBSCRIPTION_H

#include "outbox.h"

#include "nodes/nodes.h"

extern const char *outbox_logical_subscription_of(Node *stmt);
extern void outbox_logical_subscription_altered(const char *name);
extern void outbox_logical_subscription_leave_all(void);

#endif /* OUTBOX_LOGICAL_SUBSCRIPTION_H */
