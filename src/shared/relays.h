/*-------------------------------------------------------------------------
 *
 * relays.h
 *	  The relays of a database, as everybody else knows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAYS_H
#define OUTBOX_RELAYS_H

#include "shared/shmem.h"

/* A row of outbox.relay, and how far that relay is, on disk */
typedef struct OutboxRelayRow
{
	int number;
	char name[NAMEDATALEN];
	TimestampTz created_at;
	uint64 position;
} OutboxRelayRow;

/* All of them, in the order of their numbers */
typedef struct OutboxRelayRows
{
	uint64 last_id; /* that has been handed out */
	int count;
	OutboxRelayRow rows[OUTBOX_RELAYS];
} OutboxRelayRows;

/* the caller holds outbox_shmem->lock */
extern bool outbox_relays_any(const OutboxDatabase *db);
extern bool outbox_relays_are_known(OutboxDatabase *db);
extern bool outbox_relays_end(OutboxDatabase *db);
extern void outbox_relays_forget(OutboxDatabase *db);
extern OutboxRelaySlot *outbox_relays_find(OutboxDatabase *db,
										   const char *name);

/* without it */
extern void outbox_relays_wake(OutboxDatabase *db);
extern bool outbox_relays_position(OutboxDatabase *db, uint64 *position);
extern bool outbox_relays_position_of(OutboxDatabase *db, const char *name,
									  bool *is_known, uint64 *position);
extern void outbox_relays_slowest(OutboxDatabase *db, char *name);
extern uint64 outbox_relays_parked(OutboxDatabase *db);
extern void outbox_relays_store(OutboxDatabase *db,
								const OutboxRelayRows *list, uint32 changes);

#endif /* OUTBOX_RELAYS_H */
