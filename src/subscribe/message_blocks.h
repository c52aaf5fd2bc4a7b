/*-------------------------------------------------------------------------
 *
 * message_blocks.h
 *	  Which messages wait behind one that has failed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_MESSAGE_BLOCKS_H
#define OUTBOX_MESSAGE_BLOCKS_H

#include "store/inbox_parked.h"
#include "subscribe/identity.h"
#include "subscribe/subscriber.h"

/* 128 bits of hash stand for scope, topic, partition and key */
typedef struct OutboxMessageBlockId
{
	uint64 hash[2];
} OutboxMessageBlockId;

typedef struct OutboxMessageBlock
{
	OutboxMessageBlockId id;
	OutboxInboxBlock block;
	/* before that offset nothing is left; of SCOPE_NONE, in the current pass
	 * nothing is due before that time */
	int64 from;
	int alone; /* so many are to be tried alone, since a commit has failed */
} OutboxMessageBlock;

/* Our own statements on what is parked are under way. */
typedef struct OutboxParkedAccess
{
	OutboxIdentity before;
	int nest_level;
} OutboxParkedAccess;

extern OutboxInboxOwner outbox_message_owner(void);
extern void outbox_parked_enter(OutboxParkedAccess *access);
extern void outbox_parked_leave(const OutboxParkedAccess *access);
extern bool outbox_message_is_keyed(void);
extern void outbox_message_blocks_load(void);
extern bool outbox_message_blocks_are_loaded(void);
extern void outbox_message_blocks_forget(void);
extern bool outbox_message_blocks_has(const OutboxMessage *message);
extern void outbox_message_blocks_add(const OutboxMessage *message,
									  TimestampTz next_attempt);
extern void outbox_message_blocks_queue(const OutboxMessage *message);
extern void outbox_message_blocks_set(OutboxMessageBlock *entry,
									  TimestampTz next_attempt);
extern void outbox_message_blocks_remove(OutboxMessageBlock *entry);
extern OutboxMessageBlock *outbox_message_blocks_due(TimestampTz now);
extern TimestampTz outbox_message_blocks_next(void);
extern void outbox_message_blocks_tell(void);

#endif /* OUTBOX_MESSAGE_BLOCKS_H */
