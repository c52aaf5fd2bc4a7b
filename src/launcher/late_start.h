/*-------------------------------------------------------------------------
 *
 * late_start.h
 *	  How long relays wait after crashes of the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LATE_START_H
#define OUTBOX_LATE_START_H

extern void outbox_late_start_begin(void);
extern long outbox_late_start_wait_ms(void);

#endif /* OUTBOX_LATE_START_H */
