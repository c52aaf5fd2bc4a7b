/*-------------------------------------------------------------------------
 *
 * line_limit.c
 *	  Keeps lines of which there may be very many from filling the log.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "sink/line_limit.h"

/*
 * May one more line be written? at_once of them may follow one another; in the
 * long run there is one in every_ms.
 */
bool
outbox_line_limit_allows(OutboxLineLimit *limit, int at_once, int every_ms)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz most = TimestampTzPlusMilliseconds(now, at_once * every_ms);

	/* beyond that only by a clock that has been set back */
	if (limit->paid_until < now || limit->paid_until > most)
		limit->paid_until = now;
	if (TimestampTzPlusMilliseconds(limit->paid_until, every_ms) > most)
	{
		limit->withheld++;
		return false;
	}
	limit->paid_until =
		TimestampTzPlusMilliseconds(limit->paid_until, every_ms);
	return true;
}

/* In the ereport() of a line that is allowed: how many were not, if any */
int
outbox_line_limit_detail(OutboxLineLimit *limit)
{
	long long withheld = limit->withheld;

	limit->withheld = 0;
	if (withheld == 0)
		return 0;
	return errdetail_log("%lld similar messages were withheld before.",
						 withheld);
}
