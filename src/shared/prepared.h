/*-------------------------------------------------------------------------
 *
 * prepared.h
 *	  What cannot be part of a prepared transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PREPARED_H
#define OUTBOX_PREPARED_H

#include "outbox.h"

extern void outbox_prepared_refuse(const char *deed);
extern void outbox_prepared_install_hooks(void);

#endif /* OUTBOX_PREPARED_H */
