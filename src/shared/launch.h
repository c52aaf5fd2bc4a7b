/*-------------------------------------------------------------------------
 *
 * launch.h
 *	  What the launcher hands over to a relay.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LAUNCH_H
#define OUTBOX_LAUNCH_H

#include "outbox.h"

/* In bgw_extra: plain values only */
typedef struct OutboxRelayArgs
{
	Oid dbid;
	int slot;          /* index in the database's relays */
	int launch;        /* index in outbox_shmem->launches */
	uint32 generation; /* of that launch */
} OutboxRelayArgs;

#endif /* OUTBOX_LAUNCH_H */
