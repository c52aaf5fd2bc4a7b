/*-------------------------------------------------------------------------
 *
 * rights.h
 *	  outbox.emit_right: which roles have been granted which topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STORE_RIGHTS_H
#define OUTBOX_STORE_RIGHTS_H

#include "outbox.h"

#include "nodes/pg_list.h"

typedef struct OutboxRight
{
	Oid role;    /* it may have been dropped */
	text *topic; /* a pattern */
} OutboxRight;

extern List *outbox_rights_read(Oid table);

#endif /* OUTBOX_STORE_RIGHTS_H */
