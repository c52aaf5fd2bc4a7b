/*-------------------------------------------------------------------------
 *
 * blocked_keys.h
 *	  Which topics and keys are blocked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BLOCKED_KEYS_H
#define OUTBOX_BLOCKED_KEYS_H

#include "utils/hsearch.h"

#include "shared/shmem.h"
#include "store/parked.h"

/* 128 bits of hash stand for scope, topic and key */
typedef struct OutboxBlockId
{
	uint64 hash[2];
} OutboxBlockId;

typedef struct OutboxBlockedKey
{
	OutboxBlockId id;
	OutboxBlock block;
	bool open;         /* its first event went through: the others follow */
	bool failed;       /* an event of it failed in the current round */
	uint64 alone_upto; /* up to this id, one has been refused; 0 = none */
	int held;          /* how often others had locked its first row */
	TimestampTz not_before;
} OutboxBlockedKey;

extern void outbox_blocked_keys_init(void);
extern OutboxStoreStatus outbox_blocked_keys_load(void);
extern void outbox_blocked_keys_reload(void);
extern void outbox_blocked_keys_note(OutboxBlockScope scope,
									 const OutboxEvent *event,
									 TimestampTz next_attempt);
extern uint32 outbox_blocked_keys_generation(void);
extern bool outbox_blocked_keys_is_loaded(void);
extern void outbox_blocked_keys_count(int64 more);
extern bool outbox_blocked_keys_any(void);
extern bool outbox_blocked_keys_any_failed(void);
extern bool outbox_blocked_keys_any_paused(void);
extern bool outbox_blocked_keys_is_paused(const char *topic);
extern bool outbox_blocked_keys_has(const OutboxEvent *event);
extern OutboxBlockedKey *outbox_blocked_keys_find(const OutboxEvent *event);
extern void outbox_blocked_keys_scan(HASH_SEQ_STATUS *scan);

#endif /* OUTBOX_BLOCKED_KEYS_H */
