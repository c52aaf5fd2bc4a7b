/*-------------------------------------------------------------------------
 *
 * deleted_rows.h
 *	  Rows that the current transaction has deleted from views of events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DELETED_ROWS_H
#define OUTBOX_DELETED_ROWS_H

#include "outbox.h"

#include "utils/uuid.h"

extern void outbox_deleted_rows_add(uint32 view, const pg_uuid_t *event_id,
									int64 until);
extern bool outbox_deleted_rows_has(uint32 view, const pg_uuid_t *event_id,
									int64 offset);
extern void outbox_deleted_rows_commit_sub(int nest_level);
extern void outbox_deleted_rows_abort_sub(int nest_level);
extern void outbox_deleted_rows_forget(void);

#endif /* OUTBOX_DELETED_ROWS_H */
