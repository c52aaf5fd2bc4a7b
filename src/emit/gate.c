/*-------------------------------------------------------------------------
 *
 * gate.c
 *	  The gate: a lock on the sequence, by which DROP EXTENSION and sessions
 *	  keep out of each other's way (xact.c). Names are looked up anew by each
 *	  transaction, and what was found stays while it has the lock.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"

#include "emit/gate.h"

/* A relation of ours, without asking for any privilege on the schema. */
Oid
outbox_gate_relation(const char *name)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* Locks the sequence until the transaction ends; InvalidOid if the extension is
 * not there (any more). */
Oid
outbox_gate_lock(void)
{
	for (;;)
	{
		Oid sequence = outbox_gate_relation(OUTBOX_SEQUENCE);

		if (!OidIsValid(sequence))
			return InvalidOid;
		LockRelationOid(sequence, RowExclusiveLock);
		if (outbox_gate_relation(OUTBOX_SEQUENCE) == sequence)
			return sequence;
		/* it was dropped while we waited; perhaps there is a new one */
		UnlockRelationOid(sequence, RowExclusiveLock);
	}
}

/* Raises 55000: there is no extension. */
void
outbox_gate_refuse(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("extension \"%s\" does not exist in this database",
						   OUTBOX_EXTENSION),
					errhint("Run CREATE EXTENSION %s.", OUTBOX_EXTENSION)));
}
