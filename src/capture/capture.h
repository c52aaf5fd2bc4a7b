/*-------------------------------------------------------------------------
 *
 * capture.h
 *	  Rows of tables that are published.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_H
#define OUTBOX_CAPTURE_H

#include "outbox.h"

#include "executor/tuptable.h"

#include "capture/plan.h"

extern bool outbox_capture_read_row(const OutboxCapturePlan *plan,
									TupleTableSlot *row);

#endif /* OUTBOX_CAPTURE_H */
