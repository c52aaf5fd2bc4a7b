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

typedef struct OutboxBlockEntry
{
	OutboxBlockId id;
	OutboxBlock block;
	bool open;         /* its first event went through: the others follow */
	bool failed;       /* an event of it failed in the current round */
	uint64 alone_upto; /* up to this id, one has been refused; 0 = none */
	int held;          /* how often others had locked its first row */
	TimestampTz not_before;
} OutboxBlockEntry;

extern void outbox_blocks_init(OutboxDatabase *database,
							   const char *relay_name);
extern OutboxStoreStatus outbox_blocks_load(void);
extern void outbox_blocks_reload(void);
extern void outbox_blocks_note(OutboxBlockScope scope,
							   const OutboxEvent *event,
							   TimestampTz next_attempt);
extern uint32 outbox_blocks_generation(void);
extern bool outbox_blocks_is_loaded(void);
extern void outbox_blocks_count(int64 more);
extern bool outbox_blocks_any(void);
extern bool outbox_blocks_has(const OutboxEvent *event);
extern OutboxBlockEntry *outbox_blocks_find(const OutboxEvent *event);
extern void outbox_blocks_scan(HASH_SEQ_STATUS *scan);

#endif /* OUTBOX_BLOCKED_KEYS_H */
