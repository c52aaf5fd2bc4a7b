/*-------------------------------------------------------------------------
 *
 * relay_state.h
 *	  How a relay shows itself to others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAY_STATE_H
#define OUTBOX_RELAY_STATE_H

#include "shared/launch.h"
#include "shared/shmem.h"

extern bool outbox_relay_state_is_held_off(const OutboxRelayArgs *args);
extern bool outbox_relay_state_attach(OutboxDatabase *db,
									  const OutboxRelayArgs *args);
extern void outbox_relay_state_detach(OutboxDatabase *db);
extern void outbox_relay_state_launch(const OutboxRelayArgs *args,
									  OutboxLaunchState state);
extern void outbox_relay_state_set(OutboxDatabase *db, OutboxRelayState state);
extern bool outbox_relay_state_no_worker(bool missing);
extern char *outbox_relay_state_why_none(const char *database,
										 TimestampTz *since);
extern void outbox_relay_state_failing(OutboxDatabase *db, bool failing);
extern void outbox_relay_state_error(OutboxDatabase *db, const char *message);

#endif /* OUTBOX_RELAY_STATE_H */
