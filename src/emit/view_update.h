/*-------------------------------------------------------------------------
 *
 * view_update.h
 *	  Updates of rows of a view of events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_VIEW_UPDATE_H
#define OUTBOX_VIEW_UPDATE_H

#include "outbox.h"

#include "access/htup.h"
#include "commands/trigger.h"

#include "emit/view_columns.h"

extern HeapTuple outbox_view_updated(const OutboxView *view,
									 const TriggerData *data);

#endif /* OUTBOX_VIEW_UPDATE_H */
