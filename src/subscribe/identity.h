/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  As whom a subscriber's transactions run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_IDENTITY_H
#define OUTBOX_IDENTITY_H

#include "outbox.h"

/* Who it was before */
typedef struct OutboxIdentity
{
	Oid user;
	int context;
	int replication_role; /* which triggers are fired */
} OutboxIdentity;

extern void outbox_identity_begin(Oid role);
extern void outbox_identity_end(bool committed);
extern void outbox_identity_elevate(OutboxIdentity *before);
extern void outbox_identity_restore(const OutboxIdentity *before);

#endif /* OUTBOX_IDENTITY_H */
