/*-------------------------------------------------------------------------
 *
 * dead_letter_copies.h
 *	  Copies of dead letters for a topic of their own, and their end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DEAD_LETTER_COPIES_H
#define OUTBOX_DEAD_LETTER_COPIES_H

#include "sink/sink.h"
#include "store/store.h"

extern void outbox_deadletter_init(const char *relay,
								   const OutboxSinkApi *api);
extern void outbox_deadletter_added(void);
extern void outbox_deadletter_reload(void);
extern OutboxStoreStatus outbox_deadletter_run(const OutboxSinkConfig *config,
											   bool *progress);
extern long outbox_deadletter_timeout_ms(void);
extern void outbox_deadletter_close(void);

#endif /* OUTBOX_DEAD_LETTER_COPIES_H */
