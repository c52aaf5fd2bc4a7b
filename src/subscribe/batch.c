/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Messages that have their turn together.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "subscribe/batch.h"

void
outbox_batch_add(OutboxPartition *partition,
				 const OutboxSourceMessage *message)
{
	(void) partition;
	(void) message;
}

/* nothing is taken: nobody could handle it */
bool
outbox_batch_is_full(void)
{
	return true;
}

bool
outbox_batch_run(void)
{
	return false;
}

long
outbox_batch_timeout_ms(void)
{
	return -1;
}

void
outbox_batch_forget(void)
{
}
