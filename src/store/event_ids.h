/*-------------------------------------------------------------------------
 *
 * event_ids.h
 *	  Ids of events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EVENT_IDS_H
#define OUTBOX_EVENT_IDS_H

#include "outbox.h"

extern int64 outbox_event_ids_take(Oid sequence, int64 *count);

#endif /* OUTBOX_EVENT_IDS_H */
