/*-------------------------------------------------------------------------
 *
 * extension_locks.c
 *	  The locks of DROP EXTENSION and of ALTER EXTENSION .. UPDATE, without
 *	  deadlocks.
 *
 * DROP EXTENSION locks our tables in the order in which it finds them in
 * pg_depend, an update in that of its script, and both wait for each while
 * they hold the others. So that they cannot deadlock with transactions that
 * emit, or that read our tables and views in whatever order, they are given all
 * these locks before they begin, and wait for one of them only while they hold
 * no other.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ddl/extension_locks.h"

/* Is our extension dropped, or altered? */
static bool
changes_extension(Node *stmt)
{
	ListCell *cell;

	if (IsA(stmt, AlterExtensionStmt))
		return strcmp(((AlterExtensionStmt *) stmt)->extname,
					  OUTBOX_EXTENSION) == 0;
	if (!IsA(stmt, DropStmt) ||
		((DropStmt *) stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach (cell, ((DropStmt *) stmt)->objects)
	{
		if (strcmp(strVal(lfirst(cell)), OUTBOX_EXTENSION) == 0)
			return true;
	}
	return false;
}

/* The tables, views and sequences of the extension */
static List *
list_relations(void)
{
	Oid extension = get_extension_oid(OUTBOX_EXTENSION, true);
	List *relations = NIL;
	Relation rel = table_open(DependRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL,
							  lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->classid == RelationRelationId)
			relations = lappend_oid(relations, form->objid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relations;
}

/* Locks them all if they are free at once; else none, and one is in the way. */
static Oid
try_lock_all(List *relations)
{
	Oid in_the_way = InvalidOid;
	int locked = 0;

	while (locked < list_length(relations) && !OidIsValid(in_the_way))
	{
		Oid relation = list_nth_oid(relations, locked);

		if (ConditionalLockRelationOid(relation, AccessExclusiveLock))
			locked++;
		else
			in_the_way = relation;
	}
	while (OidIsValid(in_the_way) && locked > 0)
		UnlockRelationOid(list_nth_oid(relations, --locked),
						  AccessExclusiveLock);
	return in_the_way;
}

/*
 * Locks everything for a command that the user may run. What was waited
 * for is kept while the rest is tried, so that it need not be waited for
 * again; if another lock is in the way then, it is given back first.
 */
static void
lock_all(void)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);
	Oid waited_for = OidIsValid(schema)
						 ? get_relname_relid(OUTBOX_SEQUENCE, schema)
						 : InvalidOid;
	HeapTuple tuple;
	bool owns;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(waited_for));
	if (!HeapTupleIsValid(tuple))
		return;
	owns = has_privs_of_role(GetUserId(),
							 ((Form_pg_class) GETSTRUCT(tuple))->relowner);
	ReleaseSysCache(tuple);

	while (owns && OidIsValid(waited_for))
	{
		Oid in_the_way;

		/* the gate first: who emits is behind it */
		LockRelationOid(waited_for, AccessExclusiveLock);
		in_the_way = try_lock_all(list_relations());
		if (OidIsValid(in_the_way))
			UnlockRelationOid(waited_for, AccessExclusiveLock);
		waited_for = in_the_way;
	}
}

/* Called before each command: prepares one that changes our extension. */
void
outbox_extension_locks_lock(Node *stmt)
{
	if (changes_extension(stmt))
		lock_all();
}
