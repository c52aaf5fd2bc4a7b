/*-------------------------------------------------------------------------
 *
 * round.h
 *	  A round of a subscriber.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBE_ROUND_H
#define OUTBOX_SUBSCRIBE_ROUND_H

#include "outbox.h"

extern bool outbox_round_run(void);
extern long outbox_round_timeout_ms(void);
extern void outbox_round_forget(void);
extern void outbox_round_undo(void);
extern void outbox_round_again(void);

#endif /* OUTBOX_SUBSCRIBE_ROUND_H */
