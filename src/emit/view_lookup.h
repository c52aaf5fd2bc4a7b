/*-------------------------------------------------------------------------
 *
 * view_lookup.h
 *	  Finds a row of a view of events by its id.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_VIEW_LOOKUP_H
#define OUTBOX_VIEW_LOOKUP_H

#include "outbox.h"

extern void outbox_view_lookup_install_hooks(void);

#endif /* OUTBOX_VIEW_LOOKUP_H */
