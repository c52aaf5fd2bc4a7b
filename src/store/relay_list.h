/*-------------------------------------------------------------------------
 *
 * relay_list.h
 *	  Which relays the database has, and how far each is, on disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAY_LIST_H
#define OUTBOX_RELAY_LIST_H

#include "shared/relays.h"
#include "store/transaction.h"

extern OutboxStoreStatus outbox_relay_list_read(OutboxRelayRows *list);

#endif /* OUTBOX_RELAY_LIST_H */
