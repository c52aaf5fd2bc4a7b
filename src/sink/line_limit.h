/*-------------------------------------------------------------------------
 *
 * line_limit.h
 *	  How many lines of a kind the log gets: some at once, and others as time
 *	  pays for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LINE_LIMIT_H
#define OUTBOX_LINE_LIMIT_H

#include "outbox.h"

#include "datatype/timestamp.h"

/* It begins as zeros. */
typedef struct OutboxLineLimit
{
	TimestampTz paid_until; /* by the lines that have been written */
	long long withheld;     /* since the last one */
} OutboxLineLimit;

extern bool outbox_line_limit_allows(OutboxLineLimit *limit, int at_once,
									 int every_ms);
extern int outbox_line_limit_detail(OutboxLineLimit *limit);

#endif /* OUTBOX_LINE_LIMIT_H */
