/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  How far we are, as others are told.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PROGRESS_H
#define OUTBOX_PROGRESS_H

#include "subscribe/partitions.h"

extern void outbox_progress_refused(const char *topic, int32 partition,
									const char *message);
extern void outbox_progress_show(void);
extern void outbox_progress_tell_brokers(void);
extern void outbox_progress_tell(void);
extern void outbox_progress_forget(void);
extern long outbox_progress_timeout_ms(void);

#endif /* OUTBOX_PROGRESS_H */
