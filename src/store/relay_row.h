/*-------------------------------------------------------------------------
 *
 * relay_row.h
 *	  This relay's own row in outbox.relay.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAY_ROW_H
#define OUTBOX_RELAY_ROW_H

#include "store/transaction.h"

extern OutboxStoreStatus outbox_relay_row_read(bool *found);

#endif /* OUTBOX_RELAY_ROW_H */
