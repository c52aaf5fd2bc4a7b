/*-------------------------------------------------------------------------
 *
 * to_dead_letter.h
 *	  Dead letters made of events that cannot be handled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TO_DEAD_LETTER_H
#define OUTBOX_TO_DEAD_LETTER_H

#include "store/transaction.h"

extern OutboxStoreStatus outbox_to_dead_letter(const char *relay,
											   const char *table, uint64 id,
											   const char *error,
											   bool no_copy);
extern OutboxStoreStatus outbox_to_dead_letter_parked(const char *relay,
													  uint64 id,
													  const char *error,
													  bool no_copy);

#endif /* OUTBOX_TO_DEAD_LETTER_H */
