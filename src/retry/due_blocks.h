/*-------------------------------------------------------------------------
 *
 * due_blocks.h
 *	  Which blocks are to be tried.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DUE_BLOCKS_H
#define OUTBOX_DUE_BLOCKS_H

#include "retry/blocked_keys.h"

extern bool outbox_due_blocks_goes_alone(const OutboxBlockedKey *entry);
extern bool outbox_due_blocks_together(const OutboxBlockedKey *entry,
									   TimestampTz now);
extern int outbox_due_blocks_find(OutboxBlockedKey **due, int max,
								  bool *together);
extern TimestampTz outbox_due_blocks_next(void);
extern void outbox_due_blocks_changed(void);

#endif /* OUTBOX_DUE_BLOCKS_H */
