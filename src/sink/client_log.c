/*-------------------------------------------------------------------------
 *
 * client_log.c
 *	  Lines of the server's log of which there may be very many: those of the
 *	  broker's client library, which during an outage says the same for every
 *	  broker and every attempt, and one for each event that fails. Of each
 *	  kind, only some are written, and how many were not.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "utils/timestamp.h"

#include "sink/client_log.h"
#include "sink/module.h"

/* at most so many lines in so much time */
#define LINES_MAX 10
#define PERIOD_MS 60000

static const char *label = ""; /* of the relay */

typedef struct LineLimit
{
	TimestampTz period_start;
	int lines;
	int64 withheld;
} LineLimit;

static int
server_level(int syslog_level)
{
	if (syslog_level <= LOG_ERR)
		return WARNING;
	if (syslog_level <= LOG_NOTICE)
		return LOG;
	return (syslog_level == LOG_INFO) ? DEBUG1 : DEBUG2;
}

/*
 * May a line be written? withheld becomes how many were not, since the last
 * one that was.
 */
static bool
is_allowed(LineLimit *limit, long long *withheld)
{
	TimestampTz now = GetCurrentTimestamp();

	if (TimestampDifferenceExceeds(limit->period_start, now, PERIOD_MS))
	{
		limit->period_start = now;
		limit->lines = 0;
	}
	if (++limit->lines > LINES_MAX)
	{
		limit->withheld++;
		return false;
	}
	*withheld = limit->withheld;
	limit->withheld = 0;
	return true;
}

/* A message of the library, at a level of syslog(3). */
void
outbox_client_log(int syslog_level, const char *message)
{
	static LineLimit limit;
	const char *client = outbox_module_kind()->client;
	int elevel = server_level(syslog_level);
	long long withheld;

	/* debugging has been asked for, and is not limited */
	if (elevel <= DEBUG1)
		ereport(elevel, (errmsg_internal("outbox: %s: %s", client, message)));
	else if (is_allowed(&limit, &withheld))
		ereport(
			elevel,
			(errmsg("outbox: %s: %s", client, message),
			 withheld == 0
				 ? 0
				 : errdetail_log("%lld similar messages were withheld before.",
								 withheld)));
}

/* Called once; lines about events begin with that. */
void
outbox_client_log_init(const char *relay_label)
{
	label = relay_label;
}

/* An event of the stream has been parked, or any is a dead letter. */
void
outbox_client_log_event(uint64 id, bool dead, const char *error)
{
	static LineLimit limit;
	long long withheld;

	if (is_allowed(&limit, &withheld))
		ereport(
			LOG,
			(errmsg("%s: event %llu is %s: %s", label, (unsigned long long) id,
					dead ? "a dead letter" : "parked", error),
			 withheld == 0
				 ? 0
				 : errdetail_log("%lld similar messages were withheld before.",
								 withheld)));
}
