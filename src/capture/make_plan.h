/*-------------------------------------------------------------------------
 *
 * make_plan.h
 *	  From a row of outbox.capture and the columns of a table to a plan.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_MAKE_PLAN_H
#define OUTBOX_CAPTURE_MAKE_PLAN_H

#include "outbox.h"

#include "utils/relcache.h"

#include "capture/plan.h"
#include "store/captures.h"

extern OutboxCapturePlan *
outbox_capture_make_plan(const OutboxCapture *capture, Relation rel);

#endif /* OUTBOX_CAPTURE_MAKE_PLAN_H */
