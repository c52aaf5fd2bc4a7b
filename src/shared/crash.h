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
extern int outbox_crash_delay_ms(int crashes);

#endif /* OUTBOX_CRASH_H */
