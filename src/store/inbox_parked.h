/*-------------------------------------------------------------------------
 *
 * inbox_parked.h
 *	  outbox.inbox_parked as a subscriber reads and writes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_INBOX_PARKED_H
#define OUTBOX_INBOX_PARKED_H

#include "shared/subscription.h"

/* Whose messages a process looks after: partition % workers == worker */
typedef struct OutboxInboxOwner
{
	const char *subscription;
	int workers;
	int worker;
} OutboxInboxOwner;

/* What a parked message keeps from being handled */
typedef enum OutboxInboxScope
{
	OUTBOX_INBOX_SCOPE_NONE,      /* nothing */
	OUTBOX_INBOX_SCOPE_KEY,       /* later ones of its key and partition */
	OUTBOX_INBOX_SCOPE_PARTITION, /* all later ones of its partition */
	OUTBOX_INBOX_SCOPE_ALL,       /* all others */
} OutboxInboxScope;

#define OUTBOX_INBOX_SCOPES 4

/* Parked messages that are tried one after the other; or, of SCOPE_NONE, all
 * that are tried without regard to others */
typedef struct OutboxInboxBlock
{
	OutboxInboxScope scope;
	const char *topic; /* of KEY and PARTITION */
	int32 partition;
	int64 key_hash;           /* of KEY: outbox_inbox_key_hash() */
	TimestampTz next_attempt; /* 0 = at once */
} OutboxInboxBlock;

typedef void (*OutboxInboxBlockConsumer)(const OutboxInboxBlock *block);

typedef struct OutboxInboxPlace
{
	char *topic;
	int32 partition;
	int64 offset;
	TimestampTz next_attempt; /* 0 = none: it waits for another one */
} OutboxInboxPlace;

/* An attempt that has failed; likewise why there is a dead letter */
typedef struct OutboxInboxFailure
{
	const char *sqlstate; /* NULL = it was no error */
	const char *error;
	TimestampTz next_attempt;
} OutboxInboxFailure;

/* Which rows are read of a block */
typedef struct OutboxInboxRange
{
	bool keyed;       /* of SCOPE_NONE: those with a key, too */
	int64 from;       /* an offset, of a partition; a time, of SCOPE_NONE */
	TimestampTz upto; /* of SCOPE_NONE: what is due by then */
	int limit;
} OutboxInboxRange;

typedef enum OutboxInboxLock
{
	OUTBOX_INBOX_LOCKED,
	OUTBOX_INBOX_HELD, /* by somebody else */
	OUTBOX_INBOX_GONE,
} OutboxInboxLock;

extern int64 outbox_inbox_key_hash(const bytea *key);
extern bool outbox_inbox_parked_release(const OutboxInboxOwner *owner,
										bool keyed);
extern void outbox_inbox_parked_load(const OutboxInboxOwner *owner,
									 OutboxInboxScope scope,
									 OutboxInboxBlockConsumer consumer);
extern int outbox_inbox_parked_places(const OutboxInboxOwner *owner,
									  const OutboxInboxBlock *block,
									  const OutboxInboxRange *range,
									  OutboxInboxPlace *places);
extern TimestampTz outbox_inbox_parked_first(const OutboxInboxOwner *owner,
											 bool keyed);
extern OutboxInboxLock outbox_inbox_parked_lock(const OutboxInboxOwner *owner,
												const OutboxInboxPlace *place,
												OutboxMessage *message);
extern bool outbox_inbox_parked_add(const OutboxInboxOwner *owner,
									const OutboxMessage *message,
									const OutboxInboxFailure *failure);
extern void outbox_inbox_parked_failed(const OutboxInboxOwner *owner,
									   const OutboxMessage *message,
									   const OutboxInboxFailure *failure);
extern void outbox_inbox_parked_remove(const OutboxInboxOwner *owner,
									   const OutboxMessage *message);

#endif /* OUTBOX_INBOX_PARKED_H */
