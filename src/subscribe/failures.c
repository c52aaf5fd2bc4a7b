/*-------------------------------------------------------------------------
 *
 * failures.c
 *	  Messages that have failed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "subscribe/careful.h"
#include "subscribe/failures.h"

void
outbox_failures_init(void)
{
}

bool
outbox_failures_waits(const OutboxMessage *message)
{
	(void) message;
	return false;
}

void
outbox_failures_queue(const OutboxMessage *message)
{
	(void) message;
}

void
outbox_failures_park(const OutboxMessage *message, const ErrorData *error)
{
	elog(ERROR, "message %s/%d/%lld has failed: %s", message->topic,
		 message->number, (long long) message->offset, error->message);
}

void
outbox_failures_condemn(const OutboxMessage *message)
{
	elog(ERROR, "message %s/%d/%lld ends the process", message->topic,
		 message->number, (long long) message->offset);
}

void
outbox_failures_too_large(const OutboxMessage *message, int64 bytes)
{
	elog(ERROR, "message %s/%d/%lld has %lld bytes", message->topic,
		 message->number, (long long) message->offset, (long long) bytes);
}

bool
outbox_failures_run(void)
{
	return false;
}

long
outbox_failures_timeout_ms(void)
{
	return -1;
}

void
outbox_failures_forget(void)
{
}

bool
outbox_careful_is_on(void)
{
	return false;
}

bool
outbox_careful_note(const OutboxMessage *message)
{
	(void) message;
	return true;
}

void
outbox_careful_acquit(void)
{
}
