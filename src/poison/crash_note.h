/*-------------------------------------------------------------------------
 *
 * crash_note.h
 *	  What a relay leaves on disk for the one after it, in case it is ended
 *	  by a signal.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CRASH_NOTE_H
#define OUTBOX_CRASH_NOTE_H

#include "outbox.h"

/* Which of the relay's sinks an event has been given to */
typedef enum OutboxLane
{
	OUTBOX_LANE_STREAM,
	OUTBOX_LANE_PARKED
} OutboxLane;

extern void outbox_crash_note_begin(uint64 position, uint64 last_id);
extern void outbox_crash_note_end(void);
extern void outbox_crash_note_forget(Oid dbid);
extern int outbox_crash_note_limit(uint64 position);
extern bool outbox_crash_note_is_careful(void);
extern void outbox_crash_note_note(OutboxLane lane, uint64 id);
extern void outbox_crash_note_check(uint64 position, bool all_answered);
extern uint64 outbox_crash_note_condemned(OutboxLane lane);
extern void outbox_crash_note_acquit(void);

/* what a dead letter says */
#define OUTBOX_CRASH_NOTE_ERROR                                              \
	"the relay's process was ended by a signal each time it published this " \
	"event"

#endif /* OUTBOX_CRASH_NOTE_H */
