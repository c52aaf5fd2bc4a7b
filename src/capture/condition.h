/*-------------------------------------------------------------------------
 *
 * condition.h
 *	  Which rows of a table are published.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_CONDITION_H
#define OUTBOX_CAPTURE_CONDITION_H

#include "outbox.h"

#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "capture/expression.h"
#include "capture/plan.h"

extern OutboxCaptureExpression *outbox_capture_condition(Relation rel,
														 const char *text);
extern bool outbox_capture_is_wanted(const OutboxCapturePlan *plan,
									 TupleTableSlot *row);

#endif /* OUTBOX_CAPTURE_CONDITION_H */
