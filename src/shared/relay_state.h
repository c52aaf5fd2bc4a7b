/*-------------------------------------------------------------------------
 *
 * relay_state.h
 *	  How a relay shows itself to others, or a subscriber.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAY_STATE_H
#define OUTBOX_RELAY_STATE_H

#include "shared/shmem.h"

/* a relay, of itself */
extern bool outbox_relay_state_is_held_off(void);
extern bool outbox_relay_state_attach(int number, const char *name);
extern void outbox_relay_state_detach(void);
extern void outbox_relay_state_launch(OutboxLaunchState state);
extern OutboxRelayState outbox_relay_state(void);
extern bool outbox_relay_state_set(OutboxRelayState state, const char *reason,
								   const char *hint);
extern void outbox_relay_state_still(const char *reason, const char *hint);
extern bool outbox_relay_state_failing(bool failing, const char *reason,
									   const char *hint);
extern void outbox_relay_state_ends(const char *reason);
extern void outbox_relay_state_tell_late(void);
extern const char *outbox_relay_state_activity(void);
extern void outbox_relay_state_error(const char *message);
extern void outbox_relay_state_refused(const char *why);

/* anybody */
extern const char *outbox_relay_state_name(const OutboxRelayStatus *status,
										   const char *database);

#endif /* OUTBOX_RELAY_STATE_H */
