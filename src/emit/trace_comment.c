/*-------------------------------------------------------------------------
 *
 * trace_comment.c
 *	  The trace that a comment in the client's statement tells, as
 *	  sqlcommenter and its kin write it: names and values in single quotes,
 *	  with commas between them, encoded as in URLs.
 *
 *	  SELECT 1 / * traceparent='00-...-01',tracestate='congo%3Dt61' * /
 *
 * It is the last thing in the statement, but for semicolons, or the first.
 * Nothing else of the statement has to be understood for that: what the server
 * has parsed and ends like a comment ends in one, so no literal is taken for
 * one; and within other comments, or behind "--", nothing has the whole of
 * this form unless somebody has meant it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "tcop/tcopprot.h"

#include "emit/trace_comment.h"

#define WHITESPACE " \t\n\r\f"

static bool
is_space(char c)
{
	return c != '\0' && strchr(WHITESPACE, c) != NULL;
}

static const char *
skip_spaces(const char *from, const char *end)
{
	while (from < end && is_space(*from))
		from++;
	return from;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char) pg_ascii_tolower((unsigned char) c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Decodes a value into a string of at most max bytes, which becomes empty if
 * it does not fit. Libraries for Python double the percent sign, which their
 * drivers undo in some statements only.
 */
static void
decode(const char *from, const char *end, char *string, size_t max)
{
	size_t length = 0;

	while (from < end && length < max)
	{
		char c = *from++;

		if (c == '\\' && from < end)
			c = *from++;
		else if (c == '%')
		{
			if (from < end && *from == '%')
				from++;
			if (end - from < 2 || hex_digit(from[0]) < 0 ||
				hex_digit(from[1]) < 0)
				break;
			c = (char) (hex_digit(from[0]) << 4 | hex_digit(from[1]));
			from += 2;
		}
		if (c == '\0')
			break;
		string[length++] = c;
	}
	string[from == end ? length : 0] = '\0';
}

/* What follows a string in single quotes; NULL if it has no end. */
static const char *
skip_quoted(const char *from, const char *end)
{
	for (from++; from < end && *from != '\''; from++)
	{
		if (*from == '\\' && ++from == end)
			return NULL;
	}
	return from < end ? from + 1 : NULL;
}

/* What follows a name, or a value without quotes: numbers may be written so.
 */
static const char *
skip_word(const char *from, const char *end)
{
	while (from < end && !is_space(*from) && strchr("=',", *from) == NULL)
		from++;
	return from;
}

/* A name and its value; sets what follows. NULL if it is none. */
static const char *
read_tag(const char *name, const char *end, OutboxTrace *trace)
{
	const char *value = skip_word(name, end);
	size_t length = value - name;
	const char *next;

	if (length == 0 || end - value < 2 || *value++ != '=')
		return NULL;
	if (*value != '\'')
		return skip_word(value, end);
	next = skip_quoted(value, end);
	if (next == NULL)
		return NULL;
	if (length == strlen(OUTBOX_HEADER_TRACEPARENT) &&
		memcmp(name, OUTBOX_HEADER_TRACEPARENT, length) == 0)
		decode(value + 1, next - 1, trace->parent, OUTBOX_TRACEPARENT_BYTES);
	else if (length == strlen(OUTBOX_HEADER_TRACESTATE) &&
			 memcmp(name, OUTBOX_HEADER_TRACESTATE, length) == 0)
		decode(value + 1, next - 1, trace->state, OUTBOX_TRACESTATE_MAX);
	return next;
}

/* What is in a comment; false if it tells no trace. */
static bool
read_comment(const char *from, const char *end, OutboxTrace *trace)
{
	memset(trace, 0, sizeof(*trace));
	for (;;)
	{
		from = read_tag(skip_spaces(from, end), end, trace);
		if (from == NULL)
			return false;
		from = skip_spaces(from, end);
		if (from == end)
			break;
		if (*from++ != ',')
			return false;
	}
	if (!outbox_is_traceparent(trace->parent))
		return false;
	/* a trace without its state is one still */
	if (!outbox_is_tracestate(trace->state))
		trace->state[0] = '\0';
	return true;
}

static bool
read_comment_at_end(const char *statement, OutboxTrace *trace)
{
	const char *end = statement + strlen(statement);
	const char *from;

	while (end > statement && (end[-1] == ';' || is_space(end[-1])))
		end--;
	if (end - statement < 4 || end[-2] != '*' || end[-1] != '/')
		return false;
	end -= 2;
	/* where the innermost one begins */
	for (from = end - 2; from >= statement; from--)
	{
		if (from[0] == '/' && from[1] == '*')
			return read_comment(from + 2, end, trace);
	}
	return false;
}

static bool
read_comment_at_start(const char *statement, OutboxTrace *trace)
{
	const char *end;

	statement += strspn(statement, WHITESPACE);
	if (strncmp(statement, "/*", 2) != 0)
		return false;
	statement += 2;
	end = strstr(statement, "*/");
	return end != NULL && read_comment(statement, end, trace);
}

/*
 * The trace that the statement tells which the client has sent last; NULL if
 * it tells none. Valid until the next call.
 */
const OutboxTrace *
outbox_trace_comment(void)
{
	static OutboxTrace trace;
	static const char *statement = NULL; /* what has been looked at, ... */
	static TimestampTz started_at;       /* ... and when it had come */
	static bool has_trace = false;

	/* a long one may emit many events: it is looked at once */
	if (debug_query_string != statement ||
		GetCurrentStatementStartTimestamp() != started_at)
	{
		statement = debug_query_string;
		started_at = GetCurrentStatementStartTimestamp();
		has_trace =
			statement != NULL && (read_comment_at_end(statement, &trace) ||
								  read_comment_at_start(statement, &trace));
	}
	return has_trace ? &trace : NULL;
}
