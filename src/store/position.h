/*-------------------------------------------------------------------------
 *
 * position.h
 *	  How far a relay is, on disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_POSITION_H
#define OUTBOX_POSITION_H

#include "outbox.h"

#include "datatype/timestamp.h"

#include "shared/shmem.h"
#include "store/transaction.h"

extern OutboxStoreStatus outbox_position_lock(void);
extern OutboxStoreStatus outbox_position_open(const char *relay,
											  uint64 *position,
											  uint64 *last_id, bool *used);
extern OutboxStoreStatus outbox_position_set(const char *relay,
											 uint64 position);
extern OutboxStoreStatus outbox_position_keep_all(void);
extern OutboxStoreStatus outbox_position_write(const char *relay,
											   uint64 position,
											   const uint64 *beyond,
											   int count);
extern void outbox_position_forget(void);
extern bool outbox_position_has_passed(uint64 id, Oid but,
									   TimestampTz *published_at);
extern void outbox_position_slowest(char *relay);
extern TimestampTz outbox_position_first_at(Oid table, const char *relay);

#endif /* OUTBOX_POSITION_H */
