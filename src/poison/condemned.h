/*-------------------------------------------------------------------------
 *
 * condemned.h
 *	  The event that a task must take out of the way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CONDEMNED_H
#define OUTBOX_CONDEMNED_H

#include "poison/crash_note.h"
#include "poison/guard.h"

typedef struct OutboxCondemned
{
	uint64 id;
	const char *error;
	bool by_signal; /* it has crashed the process; else it raises errors */
} OutboxCondemned;

extern bool outbox_condemned_find(OutboxLane lane, OutboxCondemned *condemned);
extern void outbox_condemned_done(const OutboxCondemned *condemned);

#endif /* OUTBOX_CONDEMNED_H */
