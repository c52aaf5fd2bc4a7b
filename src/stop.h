/*-------------------------------------------------------------------------
 *
 * stop.h
 *	  SIGTERM, for a relay.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STOP_H
#define OUTBOX_STOP_H

extern void outbox_stop_install(void);
extern bool outbox_stop_is_requested(void);

#endif /* OUTBOX_STOP_H */
