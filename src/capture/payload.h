/*-------------------------------------------------------------------------
 *
 * payload.h
 *	  What the event of a change has in it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_PAYLOAD_H
#define OUTBOX_CAPTURE_PAYLOAD_H

#include "outbox.h"

#include "executor/tuptable.h"

#include "capture/plan.h"

typedef enum OutboxCaptureOperation
{
	OUTBOX_CAPTURE_INSERT,
	OUTBOX_CAPTURE_UPDATE,
	OUTBOX_CAPTURE_DELETE,
	OUTBOX_CAPTURE_TRUNCATE,
	OUTBOX_CAPTURE_READ, /* it was there already */
} OutboxCaptureOperation;

extern text *outbox_capture_key(const OutboxCapturePlan *plan,
								TupleTableSlot *row);
extern bytea *outbox_capture_payload(const OutboxCapturePlan *plan,
									 OutboxCaptureOperation operation,
									 TupleTableSlot *old, TupleTableSlot *new);

#endif /* OUTBOX_CAPTURE_PAYLOAD_H */
