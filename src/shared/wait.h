/*-------------------------------------------------------------------------
 *
 * wait.h
 *	  The one wait function.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_WAIT_H
#define OUTBOX_WAIT_H

#include "outbox.h"

#include "datatype/timestamp.h"

typedef enum OutboxWaitEvent
{
	OUTBOX_WAIT_LAUNCHER_MAIN,
	OUTBOX_WAIT_RELAY_START,  /* for its tables, or those of its version */
	OUTBOX_WAIT_RELAY_IDLE,   /* for an event to publish */
	OUTBOX_WAIT_RELAY_HELD,   /* until it may: paused, halted, unconfigured */
	OUTBOX_WAIT_RELAY_ACK,    /* for the broker */
	OUTBOX_WAIT_RELAY_OUTAGE, /* for a broker that can be reached */
	OUTBOX_WAIT_RELAY_DRAIN,  /* for the broker, before settings change */
	OUTBOX_WAIT_SUBSCRIBER_START,  /* as a relay, likewise the others */
	OUTBOX_WAIT_SUBSCRIBER_IDLE,   /* for a message */
	OUTBOX_WAIT_SUBSCRIBER_HELD,   /* also by a gap */
	OUTBOX_WAIT_SUBSCRIBER_OUTAGE, /* for a broker that can be reached */
	OUTBOX_WAIT_PUBLISHED,         /* a session, for the relay */
	OUTBOX_WAIT_EMIT_NOW,          /* likewise, to commit an event */
	OUTBOX_WAIT_EVENTS
} OutboxWaitEvent;

extern uint32 outbox_wait_event(OutboxWaitEvent event);
extern int outbox_wait_pipe(void);
extern void outbox_wait(long timeout_ms, OutboxWaitEvent event);
extern bool outbox_wait_answers(TimestampTz deadline, long grace_ms);
extern void outbox_wait_session(long timeout_ms, OutboxWaitEvent event);

#endif /* OUTBOX_WAIT_H */
