/*-------------------------------------------------------------------------
 *
 * state_log.c
 *	  The line of the log for each change of a relay's state, in one form:
 *
 *	  outbox relay "audit" for database "app": publishing -> unavailable
 *
 * with the reason as DETAIL, and as HINT what helps. A line begins where the
 * one before has ended, whichever process has written that; so what has been
 * told is in shared memory.
 *
 * A state that comes and goes must not fill the log: some lines may follow one
 * another at once, others only as time pays for them. Until then the change is
 * not told, and not at all if it is taken back meanwhile; the next line says
 * how many there were.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "shared/my_relay.h"
#include "shared/state_log.h"

/* so many lines at once, and in the long run one in so much time */
#define LINES_AT_ONCE 60
#define LINE_EVERY_MS 15000

static bool late = false; /* a change waits until it may be told */

static bool
is_allowed(void)
{
	return outbox_line_limit_allows(&outbox_my_relay.slot->log.limit,
									LINES_AT_ONCE, LINE_EVERY_MS);
}

/* A reason, as sentences; palloc'd. untold: changes that there is no line of */
static char *
make_detail(const char *reason, int untold)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (reason != NULL)
	{
		appendStringInfoString(&detail, reason);
		if (detail.len > 0 && detail.data[detail.len - 1] != '.')
			appendStringInfoChar(&detail, '.');
	}
	if (untold > 0)
		appendStringInfo(&detail, "%sChanges in between, not told: %d.",
						 detail.len > 0 ? " " : "", untold);
	return detail.data;
}

static void
write_line(const char *before, const char *state, const char *reason,
		   int untold, const char *hint)
{
	char *detail = make_detail(reason, untold);

	/* who changes the state is not to be interrupted by telling it */
	HOLD_INTERRUPTS();
	ereport(LOG, (errmsg("%s: %s %s", outbox_my_relay.label, before, state),
				  detail[0] != '\0' ? errdetail("%s", detail) : 0,
				  hint != NULL ? errhint("%s", hint) : 0));
	RESUME_INTERRUPTS();
	pfree(detail);
}

/* The relay is in that state; is_new: it has not been told here before. reason
 * and hint may be NULL. */
void
outbox_state_log(const char *state, bool is_new, const char *reason,
				 const char *hint)
{
	OutboxStateLog *log = &outbox_my_relay.slot->log;
	const char *told = log->told[0] != '\0' ? log->told : "stopped";
	bool is_told = (strcmp(told, state) == 0);
	char before[sizeof(log->told) + 4];

	if (is_new && (late || !is_told))
		log->untold++;
	late = (!is_told && !is_allowed());
	if (late || is_told)
		return;
	snprintf(before, sizeof(before), "%s ->", told);
	write_line(before, state, reason, log->untold - 1, hint);
	strlcpy(log->told, state, sizeof(log->told));
	log->untold = 0;
}

/* It still is, and there is another reason. */
void
outbox_state_log_still(const char *state, const char *reason, const char *hint)
{
	if (is_allowed())
		write_line("still", state, reason, 0, hint);
}

/* Is there a change that has not been told yet? */
bool
outbox_state_log_is_late(void)
{
	return late;
}
