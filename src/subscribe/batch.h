/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Messages that have come have their effects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BATCH_H
#define OUTBOX_BATCH_H

#include "outbox.h"

extern bool outbox_batch_run(bool *done);
extern long outbox_batch_timeout_ms(void);
extern void outbox_batch_forget(void);

#endif /* OUTBOX_BATCH_H */
