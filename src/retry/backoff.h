/*-------------------------------------------------------------------------
 *
 * backoff.h
 *	  When a parked event is tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BACKOFF_H
#define OUTBOX_BACKOFF_H

#include "datatype/timestamp.h"

extern TimestampTz outbox_backoff_next(int attempts);
extern bool outbox_backoff_is_last(int attempts);

#endif /* OUTBOX_BACKOFF_H */
