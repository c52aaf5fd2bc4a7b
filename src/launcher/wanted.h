/*-------------------------------------------------------------------------
 *
 * wanted.h
 *	  Which processes are to be started in a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_WANTED_H
#define OUTBOX_WANTED_H

#include "launcher/database_list.h"

extern void outbox_wanted_forget_failures(OutboxLauncherDatabase *candidate);
extern void outbox_wanted_look(OutboxLauncherDatabase *candidate);

#endif /* OUTBOX_WANTED_H */
