/*-------------------------------------------------------------------------
 *
 * message_log.c
 *	  Lines of the log that are about one message: what has become of it, and
 *	  why. All have the same form, that of event_log.c; not too many are
 *	  written, so that a handler that fails for each message does not fill a
 *	  disk.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "guc.h"
#include "shared/my_relay.h"
#include "sink/line_limit.h"
#include "subscribe/incoming.h"
#include "subscribe/message_log.h"

/* so many lines at once, and in the long run one in so much time */
#define LINES_AT_ONCE 10
#define LINE_EVERY_MS 6000

/* what is told of a key */
#define KEY_MAX       100

/* A text in quotes, or its beginning */
static void
append_quoted(StringInfo name, const char *text, int bytes, int max_bytes)
{
	int shown = pg_mbcliplen(text, bytes, max_bytes);
	char *string = pnstrdup(text, shown);

	escape_json(name, string);
	if (shown < bytes)
		appendStringInfoString(name, "...");
	pfree(string);
}

/* What a message is called, palloc'd */
static char *
name_of(const OutboxMessage *message)
{
	text *key = outbox_incoming_key(message);
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfoString(&name, "message (topic ");
	append_quoted(&name, message->topic, (int) strlen(message->topic),
				  OUTBOX_TOPIC_MAX);
	appendStringInfo(&name, ", partition %d, offset %lld", message->number,
					 (long long) message->offset);
	if (key != NULL)
	{
		appendStringInfoString(&name, ", key ");
		append_quoted(&name, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key),
					  KEY_MAX);
	}
	appendStringInfoChar(&name, ')');
	return name.data;
}

/* Tells what has become of a message, and why, if there are not too many. */
void
outbox_message_log(const OutboxMessage *message, const char *what,
				   const char *why)
{
	static OutboxLineLimit limit;
	char *name;

	if (!outbox_log_events &&
		!outbox_line_limit_allows(&limit, LINES_AT_ONCE, LINE_EVERY_MS))
		return;
	name = name_of(message);
	ereport(LOG,
			(errmsg("%s: %s %s: %s", outbox_my_relay.label, name, what, why),
			 outbox_line_limit_detail(&limit)));
	pfree(name);
}
