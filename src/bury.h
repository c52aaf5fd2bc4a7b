/*-------------------------------------------------------------------------
 *
 * bury.h
 *	  Dead letters made of events that cannot be handled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BURY_H
#define OUTBOX_BURY_H

#include "store.h"

extern OutboxStoreStatus outbox_bury(const char *relay, const char *table,
									 uint64 id, const char *error,
									 bool no_copy);
extern OutboxStoreStatus outbox_bury_parked(const char *relay, uint64 id,
											const char *error, bool no_copy);
extern OutboxStoreStatus outbox_bury_copy(const char *relay,
										  const char *error);

#endif /* OUTBOX_BURY_H */
