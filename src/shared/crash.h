/*-------------------------------------------------------------------------
 *
 * crash.h
 *	  Crashes of the server, one after another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CRASH_H
#define OUTBOX_CRASH_H

#include "outbox.h"

extern int outbox_crash_count_start(void);
extern void outbox_crash_begin_wait(void);
extern long outbox_crash_wait_ms(void);

#endif /* OUTBOX_CRASH_H */
