/*-------------------------------------------------------------------------
 *
 * session.h
 *	  The settings of the sessions of the launcher and the relays.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SESSION_H
#define OUTBOX_SESSION_H

#include "outbox.h"

extern void outbox_session_pin(void);
extern void outbox_session_pin_subscriber(void);

#endif /* OUTBOX_SESSION_H */
