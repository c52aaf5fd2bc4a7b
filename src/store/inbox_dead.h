/*-------------------------------------------------------------------------
 *
 * inbox_dead.h
 *	  outbox.inbox_dead: messages that are not tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_INBOX_DEAD_H
#define OUTBOX_INBOX_DEAD_H

#include "utils/uuid.h"

#include "store/inbox_parked.h"
#include "store/transaction.h"

/* in the current transaction */
extern void outbox_inbox_dead_add(const OutboxInboxOwner *owner,
								  const OutboxMessage *message,
								  const OutboxInboxFailure *failure,
								  bool whole);
extern void outbox_inbox_dead_bury(const OutboxInboxOwner *owner,
								   const OutboxMessage *message,
								   const OutboxInboxFailure *failure);
extern Jsonb *outbox_inbox_dead_headers(const OutboxInboxOwner *owner,
										const OutboxMessage *message,
										const OutboxInboxFailure *failure,
										MemoryContext context,
										pg_uuid_t *event_id, bool *named);

/* in one of its own */
extern OutboxStoreStatus outbox_inbox_dead_remove_old(int retention_s);

#endif /* OUTBOX_INBOX_DEAD_H */
