/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The process that starts the relays.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LAUNCHER_H
#define OUTBOX_LAUNCHER_H

#include "outbox.h"

extern void outbox_launcher_register(void);
extern PGDLLEXPORT void outbox_launcher_main(Datum main_arg);

#endif /* OUTBOX_LAUNCHER_H */
