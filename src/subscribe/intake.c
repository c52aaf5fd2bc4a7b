/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  What comes from the brokers.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "subscribe/intake.h"

void
outbox_intake_open(const OutboxSourceApi *api)
{
	(void) api;
}

bool
outbox_intake_reconfigure(void)
{
	return false;
}

void
outbox_intake_close(void)
{
}

bool
outbox_intake_run(void)
{
	return false;
}

long
outbox_intake_timeout_ms(void)
{
	return -1;
}

void
outbox_intake_tell(void)
{
}

void
outbox_intake_forget(void)
{
}
