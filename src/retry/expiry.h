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

#include "store/transaction.h"

extern void outbox_expiry_check(void);
extern void outbox_expiry_note(TimestampTz expires_at);
extern TimestampTz outbox_expiry_next(void);
extern OutboxStoreStatus outbox_expiry_to_dead_letters(const char *relay);

#endif /* OUTBOX_EXPIRY_H */
