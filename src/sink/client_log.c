/*-------------------------------------------------------------------------
 *
 * client_log.c
 *	  What the broker's client library has to say for the log. During an
 *	  outage it says the same for every broker and every attempt: only some of
 *	  that is written, and how many lines were not.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "sink/client_log.h"
#include "sink/line_limit.h"
#include "sink/module.h"

/* so many lines at once, and in the long run one in so much time */
#define LINES_AT_ONCE 10
#define LINE_EVERY_MS 6000

static int
server_level(int syslog_level)
{
	if (syslog_level <= LOG_ERR)
		return WARNING;
	if (syslog_level <= LOG_NOTICE)
		return LOG;
	return (syslog_level == LOG_INFO) ? DEBUG1 : DEBUG2;
}

/* A message of the library, at a level of syslog(3). */
void
outbox_client_log(int syslog_level, const char *message)
{
	static OutboxLineLimit limit;
	const char *client = outbox_module_kind()->client;
	int elevel = server_level(syslog_level);

	/* debugging has been asked for, and is not limited */
	if (elevel <= DEBUG1)
		ereport(elevel, (errmsg_internal("outbox: %s: %s", client, message)));
	else if (outbox_line_limit_allows(&limit, LINES_AT_ONCE, LINE_EVERY_MS))
		ereport(elevel, (errmsg("outbox: %s: %s", client, message),
						 outbox_line_limit_detail(&limit)));
}
