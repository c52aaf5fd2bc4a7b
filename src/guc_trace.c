/*-------------------------------------------------------------------------
 *
 * guc_trace.c
 *	  The settings in which an application says which trace its transaction
 *	  is part of, or that the comments of its statements do; and the grammar
 *	  of W3C Trace Context, Level 2, by which both are checked. emit/trace.c
 *	  makes headers of them.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/guc.h"

#include "guc_trace.h"

#define TRACESTATE_MEMBERS    32
#define TRACESTATE_PART_BYTES 256 /* of a key, and of a value */

/* no session's value belongs into a file, for all sessions */
#define TRACE_FLAGS           (GUC_DISALLOW_IN_FILE | GUC_NOT_IN_SAMPLE)

#define LOWER_HEX             "0123456789abcdef"
#define LOWER                 "abcdefghijklmnopqrstuvwxyz"
#define DIGITS                "0123456789"
#define WHITESPACE            " \t"

char *outbox_traceparent = NULL;
char *outbox_tracestate = NULL;
bool outbox_trace_from_comment = false;

static bool
is_hex(const char *text, size_t digits)
{
	return strspn(text, LOWER_HEX) == digits;
}

/* Is it version-trace_id-parent_id-flags, of 2, 32, 16 and 2 hexadecimal
 * digits? */
bool
outbox_is_traceparent(const char *value)
{
	if (strlen(value) != OUTBOX_TRACEPARENT_BYTES)
		return false;
	if (!is_hex(value, 2) || value[2] != '-' || !is_hex(value + 3, 32) ||
		value[35] != '-' || !is_hex(value + 36, 16) || value[52] != '-' ||
		!is_hex(value + 53, 2))
		return false;
	return strncmp(value, "ff", 2) != 0 && strspn(value + 3, "0") < 32 &&
		   strspn(value + 36, "0") < 16;
}

/* key=value. Sets what follows; NULL if it is no member of a list. */
static const char *
member_end(const char *member)
{
	size_t key = strspn(member, LOWER DIGITS "_-*/@");
	const char *value = member + key + 1;
	size_t bytes = 0;

	if (key == 0 || key > TRACESTATE_PART_BYTES ||
		strspn(member, LOWER DIGITS) == 0 || member[key] != '=')
		return NULL;
	while (value[bytes] >= ' ' && value[bytes] <= '~' && value[bytes] != ',' &&
		   value[bytes] != '=')
		bytes++;
	/* spaces behind it are the list's, not the value's */
	while (bytes > 0 && value[bytes - 1] == ' ')
		bytes--;
	return bytes == 0 || bytes > TRACESTATE_PART_BYTES ? NULL : value + bytes;
}

/* Is it a list of members, with commas between them? There may be none between
 * two, and whitespace. */
bool
outbox_is_tracestate(const char *value)
{
	int members = 0;

	if (strlen(value) > OUTBOX_TRACESTATE_MAX)
		return false;
	for (;;)
	{
		value += strspn(value, WHITESPACE);
		if (*value != ',' && *value != '\0')
		{
			value = member_end(value);
			if (value == NULL || ++members > TRACESTATE_MEMBERS)
				return false;
			value += strspn(value, WHITESPACE);
		}
		if (*value == '\0')
			return true;
		if (*value++ != ',')
			return false;
	}
}

static bool
check_traceparent(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (**newval == '\0' || outbox_is_traceparent(*newval))
		return true;
	GUC_check_errdetail("It is not a traceparent of W3C Trace Context.");
	GUC_check_errhint("It looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-"
					  "00f067aa0ba902b7-01.");
	return false;
}

static bool
check_tracestate(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (outbox_is_tracestate(*newval))
		return true;
	GUC_check_errdetail("It is not a tracestate of W3C Trace Context, with at "
						"most %d bytes and %d members.",
						OUTBOX_TRACESTATE_MAX, TRACESTATE_MEMBERS);
	GUC_check_errhint(
		"It looks like congo=t61rcWkgMzE,rojo=00f067aa0ba902b7.");
	return false;
}

void
outbox_guc_trace_define(void)
{
	DefineCustomStringVariable("outbox.traceparent",
							   "The trace that events are part of, which they "
							   "get as header traceparent.",
							   "Meant for SET LOCAL, in the transaction that "
							   "emits them.",
							   &outbox_traceparent, "", PGC_USERSET,
							   TRACE_FLAGS, check_traceparent, NULL, NULL);

	DefineCustomStringVariable("outbox.tracestate",
							   "What goes with outbox.traceparent, as header "
							   "tracestate.",
							   NULL, &outbox_tracestate, "", PGC_USERSET,
							   TRACE_FLAGS, check_tracestate, NULL, NULL);

	/*
	 * Off by default: a statement that is prepared once and run for many
	 * requests has the comment of the first of them, and its events would be
	 * part of a trace that is not theirs.
	 */
	DefineCustomBoolVariable("outbox.trace_from_comment",
							 "Takes the trace from the comment that "
							 "sqlcommenter adds to statements, where "
							 "outbox.traceparent is not set.",
							 NULL, &outbox_trace_from_comment, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}
