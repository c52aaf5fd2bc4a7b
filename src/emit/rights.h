/*-------------------------------------------------------------------------
 *
 * rights.h
 *	  Which roles may emit to which topics, and receive for which consumers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RIGHTS_H
#define OUTBOX_RIGHTS_H

#include "outbox.h"

typedef enum OutboxRightKind
{
	OUTBOX_RIGHT_EMIT,    /* to topics */
	OUTBOX_RIGHT_RECEIVE, /* for consumers */
	OUTBOX_RIGHT_KINDS
} OutboxRightKind;

extern void outbox_rights_check(OutboxRightKind kind, const text *name,
								Oid function);

#endif /* OUTBOX_RIGHTS_H */
