/*-------------------------------------------------------------------------
 *
 * addressed.c
 *	  Events that one relay alone publishes: the copies that outbox.replay()
 *	  makes for it. The others pass them over. They are known by a header; so
 *	  that nobody need look for it in each event, shared memory has the id up
 *	  to which there may be any.
 *
 * Who writes them raises it, after the ids have been taken and before its slot
 * of the horizon is cleared (xact.c): so a relay that reads it after a horizon
 * knows of all below that. What the server had before it started, or a restore
 * has brought, is unknown: then it is the last id that there is, before any
 * relay publishes (relays.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "shared/addressed.h"

/* There may be such events up to that id. */
void
outbox_addressed_raise(OutboxDatabase *db, uint64 id)
{
	uint64 old = pg_atomic_read_u64(&db->addressed_upto);

	while (old < id)
	{
		if (pg_atomic_compare_exchange_u64(&db->addressed_upto, &old, id))
			return;
	}
}

/* Up to which id there may be; to be read after the horizon. */
uint64
outbox_addressed_upto(OutboxDatabase *db)
{
	return pg_atomic_read_u64(&db->addressed_upto);
}
