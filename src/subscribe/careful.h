/*-------------------------------------------------------------------------
 *
 * careful.h
 *	  What a subscriber leaves on disk for the one after it, in case it is
 *	  ended by a signal.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAREFUL_H
#define OUTBOX_CAREFUL_H

#include "subscribe/subscriber.h"

extern void outbox_careful_begin(void);
extern void outbox_careful_forget(Oid dbid);
extern bool outbox_careful_is_on(void);
extern bool outbox_careful_note(const OutboxMessage *message);
extern void outbox_careful_acquit(void);

/* what a dead letter says; crash_shutdown */
#define OUTBOX_CAREFUL_SQLSTATE "57P02"
#define OUTBOX_CAREFUL_ERROR                                            \
	"the process that handled this message was ended by a signal or a " \
	"fatal error, or did not let itself be cancelled, three times in a row"

#endif /* OUTBOX_CAREFUL_H */
