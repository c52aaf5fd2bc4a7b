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
	int number;        /* of the process; -1 = the first relay that does not
						* run */
	int launch;        /* index in outbox_shmem->launches */
	uint32 generation; /* of that launch */
} OutboxRelayArgs;

#endif /* OUTBOX_LAUNCH_H */
