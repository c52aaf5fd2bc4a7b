/*-------------------------------------------------------------------------
 *
 * plans.h
 *	  Plans that are remembered.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_PLANS_H
#define OUTBOX_CAPTURE_PLANS_H

#include "outbox.h"

#include "utils/relcache.h"

#include "capture/plan.h"

extern OutboxCapturePlan *outbox_capture_plan(int32 id, Relation rel);

#endif /* OUTBOX_CAPTURE_PLANS_H */
