/*-------------------------------------------------------------------------
 *
 * rights.h
 *	  Which roles may emit to which topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RIGHTS_H
#define OUTBOX_RIGHTS_H

#include "outbox.h"

extern void outbox_rights_check(const text *topic, Oid function);

#endif /* OUTBOX_RIGHTS_H */
