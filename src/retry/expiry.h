/*-------------------------------------------------------------------------
 *
 * expiry.h
 *	  Events that expire before they are published.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EXPIRY_H
#define OUTBOX_EXPIRY_H

#include "outbox.h"

#include "datatype/timestamp.h"

#include "store/store.h"

/* what is told of such a dead letter */
#define OUTBOX_EXPIRED_CLASS "expired"
#define OUTBOX_EXPIRED_ERROR "expired before it was published"

extern void outbox_expired_look(void);
extern void outbox_expired_note(TimestampTz expires_at);
extern TimestampTz outbox_expired_next(void);
extern OutboxStoreStatus outbox_expired_bury(const char *relay);

#endif /* OUTBOX_EXPIRY_H */
