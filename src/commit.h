/*-------------------------------------------------------------------------
 *
 * commit.h
 *	  Events and the end of the transaction that emitted them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_COMMIT_H
#define OUTBOX_COMMIT_H

#include "outbox.h"

extern void outbox_commit_install_hooks(void);
extern void outbox_commit_join(void);

#endif /* OUTBOX_COMMIT_H */
