/*-------------------------------------------------------------------------
 *
 * shutdown.h
 *	  SIGTERM, for a relay.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SHUTDOWN_H
#define OUTBOX_SHUTDOWN_H

/* how long brokers, and others with their locks, have until the process ends */
#define OUTBOX_STOP_GRACE_MS 1000

extern void outbox_shutdown_install(void);
extern bool outbox_shutdown_is_requested(void);
extern bool outbox_shutdown_is_reason(int sqlerrcode);
extern bool outbox_shutdown_cuts_short(long grace_ms);

#endif /* OUTBOX_SHUTDOWN_H */
