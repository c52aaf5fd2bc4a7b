/*-------------------------------------------------------------------------
 *
 * inbox.h
 *	  outbox.inbox_0 and outbox.inbox_1: messages that consumers have
 *	  received.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_INBOX_H
#define OUTBOX_INBOX_H

#include "outbox.h"

#include "shared/shmem.h"

extern bool outbox_inbox_add(OutboxDatabase *db, text *consumer,
							 text *message_id);
extern void outbox_inbox_remove(const char *consumer, text *message_id);

#endif /* OUTBOX_INBOX_H */
