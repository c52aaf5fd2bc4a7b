/*-------------------------------------------------------------------------
 *
 * extension.h
 *	  Which extension is there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EXTENSION_H
#define OUTBOX_EXTENSION_H

#include "store/transaction.h"

extern OutboxStoreStatus outbox_store_version(char *version, int size);

#endif /* OUTBOX_EXTENSION_H */
