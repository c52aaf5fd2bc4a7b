/*-------------------------------------------------------------------------
 *
 * dead_letter_copies.h
 *	  Copies of dead letters for a topic of their own, and their end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DEAD_LETTER_COPIES_H
#define OUTBOX_DEAD_LETTER_COPIES_H

#include "sink/sender.h"
#include "store/transaction.h"

extern void outbox_dead_letter_copies_init(const OutboxSinkApi *api);
extern void outbox_dead_letter_copies_added(void);
extern void outbox_dead_letter_copies_reload(void);
extern OutboxTaskResult
outbox_dead_letter_copies_run(const OutboxSinkConfig *config);
extern long outbox_dead_letter_copies_timeout_ms(void);
extern void outbox_dead_letter_copies_close(void);

#endif /* OUTBOX_DEAD_LETTER_COPIES_H */
