/*-------------------------------------------------------------------------
 *
 * process.h
 *	  Processes of relays and of subscriptions: how they are started, and what
 *	  becomes of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PROCESS_H
#define OUTBOX_PROCESS_H

#include "launcher/database_list.h"

/* for the scout of a database, who is no relay yet */
#define OUTBOX_SCOUT -1

extern void outbox_process_take_over(void);
extern void outbox_process_forget_early_ends(void);
extern bool outbox_process_start(OutboxLauncherDatabase *candidate,
								 int number);
extern void outbox_process_make_room(void);
extern bool outbox_process_reap(OutboxLauncherDatabase *candidate);

#endif /* OUTBOX_PROCESS_H */
