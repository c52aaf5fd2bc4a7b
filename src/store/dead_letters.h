/*-------------------------------------------------------------------------
 *
 * dead_letters.h
 *	  The dead letters among outbox.parked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DEAD_LETTERS_H
#define OUTBOX_DEAD_LETTERS_H

#include "datatype/timestamp.h"

#include "store/statement.h"

/* what is told of those that have expired */
#define OUTBOX_EXPIRED_CLASS "expired"
#define OUTBOX_EXPIRED_ERROR "expired before it was published"

/* Can the row that is being read be the cause of such an error? */
typedef bool (*OutboxErrorOfRow)(int sqlerrcode);

extern OutboxStoreStatus
outbox_dead_letters_from_event(const char *relay, const char *table, uint64 id,
							   const char *error, bool no_copy,
							   OutboxErrorOfRow is_of_row);
extern OutboxStoreStatus outbox_dead_letters_from_parked(const char *relay,
														 uint64 id,
														 const char *error,
														 bool no_copy);
extern OutboxStoreStatus outbox_dead_letters_from_topic(const char *relay,
														const char *topic,
														const char *error,
														uint64 *made);
extern OutboxStoreStatus outbox_dead_letters_from_expired(const char *relay,
														  TimestampTz upto,
														  uint64 *made,
														  TimestampTz *next);
extern OutboxStoreStatus
outbox_dead_letters_to_copy(const char *relay, const char *topic, int limit,
							OutboxEventConsumer consumer, void *arg,
							uint64 *rows);
extern OutboxStoreStatus outbox_dead_letters_skip_copy(const char *relay,
													   const char *error);
extern OutboxStoreStatus outbox_dead_letters_remove_old(const char *relay,
														int retention_s);
extern OutboxStoreStatus
outbox_dead_letters_forget_discarded(const char *relay);

#endif /* OUTBOX_DEAD_LETTERS_H */
