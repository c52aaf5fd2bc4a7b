/*-------------------------------------------------------------------------
 *
 * relay.h
 *	  The process that publishes one database's events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include "outbox.h"

extern PGDLLEXPORT void outbox_relay_main(Datum main_arg);

#endif /* OUTBOX_RELAY_H */
