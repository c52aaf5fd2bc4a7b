/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  Rows of ours never come in by logical replication.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIPTION_H
#define OUTBOX_SUBSCRIPTION_H

#include "outbox.h"

#include "nodes/nodes.h"

extern const char *outbox_subscription_of(Node *stmt);
extern void outbox_subscription_altered(const char *name);
extern void outbox_subscription_leave_all(void);

#endif /* OUTBOX_SUBSCRIPTION_H */
