/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Messages that have their turn together.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "subscribe/batch.h"

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
