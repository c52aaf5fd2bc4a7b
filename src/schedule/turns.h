/*-------------------------------------------------------------------------
 *
 * turns.h
 *	  When a chore that has jobs is to work on the next of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TURNS_H
#define OUTBOX_TURNS_H

#include "outbox.h"

#include "datatype/timestamp.h"

/* how often a job has a turn */
#define OUTBOX_TURN_EVERY_MS  10

/* turns a second, at rates where one event after another would be too slow */
#define OUTBOX_TURNS_A_SECOND 5

/* {0}: nothing is known yet */
typedef struct OutboxTurns
{
	bool none; /* no job is running, as far as we know */
	uint32 changes_seen;
	TimestampTz next_at;
} OutboxTurns;

extern bool outbox_turns_begin(OutboxTurns *turns, TimestampTz now,
							   TimestampTz *latest);
extern void outbox_turns_plan(OutboxTurns *turns, bool any, TimestampTz next,
							  TimestampTz now);
extern void outbox_turns_forget(OutboxTurns *turns);
extern long outbox_turns_timeout_ms(OutboxTurns *turns);

#endif /* OUTBOX_TURNS_H */
