/*-------------------------------------------------------------------------
 *
 * policy.h
 *	  What this relay publishes, and what it does about events that fail: the
 *	  values of its row in outbox.relay, and for those that the row leaves
 *	  open, the settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_POLICY_H
#define OUTBOX_POLICY_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "utils/array.h"

#include "format/envelope.h"
#include "guc.h"

/* In a row, a value that it leaves open is -1, or NULL. */
typedef struct OutboxPolicy
{
	TimestampTz created_at; /* another one means another relay */

	/* patterns, arrays of text */
	ArrayType *topics;        /* NULL = all topics */
	ArrayType *excluding;     /* of these, those that are not; or NULL */
	const char *topic_prefix; /* for the names in its cluster; "" = none */
	bool paused;
	int event_headers;       /* OutboxEventHeaders */
	OutboxEnvelope envelope; /* as that says; not in a row */

	int on_failure; /* OutboxOnFailure */
	int retry_base_delay_ms;
	double retry_multiplier;
	int retry_max_delay_ms;
	int retry_max_attempts;        /* 0 = no end to them */
	const char *dead_letter_topic; /* "" = none */
} OutboxPolicy;

/* of this process; nothing in it is open */
extern OutboxPolicy outbox_policy;

extern void outbox_policy_set_row(const OutboxPolicy *row,
								  MemoryContext context);
extern void outbox_policy_resolve(void);

#endif /* OUTBOX_POLICY_H */
