/*-------------------------------------------------------------------------
 *
 * due.c
 *	  When the first delayed event of a database is due. Whoever emits one
 *	  lowers it after the commit; the relay sets it when it has looked.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "shared/due.h"

/*
 * An event will be due at that time, or after it: the relay looks then, or
 * before. Takes no lock.
 */
void
outbox_due_lower(OutboxDatabase *db, TimestampTz due)
{
	uint64 old = pg_atomic_read_u64(&db->next_due);

	while ((int64) old > due)
	{
		if (pg_atomic_compare_exchange_u64(&db->next_due, &old, (uint64) due))
			return;
	}
}
