/*-------------------------------------------------------------------------
 *
 * my_relay.h
 *	  Which relay this process is, or which subscriber.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_MY_RELAY_H
#define OUTBOX_MY_RELAY_H

#include "shared/launch.h"
#include "shared/shmem.h"

typedef struct OutboxMyRelay
{
	OutboxRelayArgs args;
	int number;            /* of its row in outbox.relay, and its slot */
	const char *name;      /* of that row, or the subscription's */
	const char *database;  /* the name of our database */
	const char *label;     /* "outbox relay for database ...", in the log */
	OutboxDatabase *db;    /* NULL until we have become the relay, ... */
	OutboxRelaySlot *slot; /* ... and its slot there */
	OutboxSubscriberSlot *subscriber; /* which is in this; NULL = a relay */
	TimestampTz wake_at; /* we end, having nothing to do until then; or 0 */
	/* of relay_changes, when our row was read; a subscriber's: of
	 * subscribers.changes */
	uint32 changes_seen;
} OutboxMyRelay;

extern OutboxMyRelay outbox_my_relay;

extern void outbox_my_relay_init(const OutboxRelayArgs *args);
extern void outbox_my_relay_name_database(const char *database);
extern bool outbox_my_relay_has_changed(void);
extern bool outbox_my_relay_is_subscriber(void);
extern pg_atomic_uint32 *outbox_my_relay_changes(void);
extern void outbox_my_relay_name(int number, const char *name);
extern void outbox_my_relay_name_subscriber(int worker, int workers);
extern void outbox_my_relay_lock(void);
extern void outbox_my_relay_lock_alone(void);

#endif /* OUTBOX_MY_RELAY_H */
