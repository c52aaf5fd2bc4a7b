/*-------------------------------------------------------------------------
 *
 * dead_letter_copies.h
 *	  Copies of dead letters for a topic of their own, and their end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DEAD_LETTER_COPIES_H
#define OUTBOX_DEAD_LETTER_COPIES_H

#include "shared/task.h"

extern OutboxTask outbox_dead_letter_copies_task;

extern void outbox_dead_letter_copies_added(void);
extern bool outbox_dead_letter_copies_are_under_way(void);

#endif /* OUTBOX_DEAD_LETTER_COPIES_H */
