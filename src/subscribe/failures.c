/*-------------------------------------------------------------------------
 *
 * failures.c
 *	  Messages that have failed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "subscribe/failures.h"

void
outbox_failures_init(void)
{
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
