/*-------------------------------------------------------------------------
 *
 * liblog.c
 *	  Passes the log lines of the broker's client library on to the server's
 *	  log, at fitting levels, and not too many of them: during an outage the
 *	  library says the same for every broker and every attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "liblog.h"
#include "utils/timestamp.h"

/* at most so many lines in so much time */
#define LINES_MAX 10
#define PERIOD_MS 60000

static int
server_level(int syslog_level)
{
	if (syslog_level <= LOG_ERR)
		return WARNING;
	if (syslog_level <= LOG_NOTICE)
		return LOG;
	return (syslog_level == LOG_INFO) ? DEBUG1 : DEBUG2;
}

void
outbox_liblog(int syslog_level, const char *message)
{
	static TimestampTz period_start = 0;
	static int lines = 0;
	static int64 withheld = 0;
	int elevel = server_level(syslog_level);
	TimestampTz now = GetCurrentTimestamp();

	/* debugging has been asked for, and is not limited */
	if (elevel <= DEBUG1)
	{
		ereport(elevel, (errmsg_internal("outbox: librdkafka: %s", message)));
		return;
	}

	if (TimestampDifferenceExceeds(period_start, now, PERIOD_MS))
	{
		period_start = now;
		lines = 0;
	}
	if (++lines > LINES_MAX)
	{
		withheld++;
		return;
	}
	if (withheld > 0)
		ereport(elevel,
				(errmsg("outbox: librdkafka: %s", message),
				 errdetail_log("%lld similar messages were withheld before.",
							   (long long) withheld)));
	else
		ereport(elevel, (errmsg("outbox: librdkafka: %s", message)));
	withheld = 0;
}
