/*-------------------------------------------------------------------------
 *
 * relay.h
 *	  The process that publishes one database's events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include "store/store.h"

/* What the launcher hands over, in bgw_extra: plain values only */
typedef struct OutboxRelayArgs
{
	Oid dbid;
	int launch;        /* index in outbox_shmem->launches */
	uint32 generation; /* of that launch */
} OutboxRelayArgs;

extern void outbox_relay_end_if_absent(OutboxStoreStatus status);
extern PGDLLEXPORT void outbox_relay_main(Datum main_arg);

#endif /* OUTBOX_RELAY_H */
