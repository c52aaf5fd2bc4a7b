/*-------------------------------------------------------------------------
 *
 * database_list.c
 *	  The launcher's list of databases, kept in step with pg_database: any of
 *	  them may have the extension. What the launcher has learnt about each of
 *	  them, and of its processes, is kept in its entry.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "launcher/database_list.h"
#include "poison/crash_note.h"
#include "shared/relays.h"
#include "shared/subscribers.h"
#include "subscribe/careful.h"

List *outbox_candidates = NIL;

static OutboxLauncherDatabase *
find_candidate(Oid dbid)
{
	ListCell *cell;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		if (candidate->dbid == dbid)
			return candidate;
	}
	return NULL;
}

/* Takes one row of pg_database into the list. */
static void
list_database(Form_pg_database form)
{
	OutboxLauncherDatabase *candidate = find_candidate(form->oid);

	if (candidate == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		candidate = palloc0(sizeof(OutboxLauncherDatabase));
		candidate->dbid = form->oid;
		outbox_candidates = lappend(outbox_candidates, candidate);
		MemoryContextSwitchTo(old_context);
	}
	candidate->name = form->datname;
	candidate->listed = true;
	/* nobody can connect to one of which DROP DATABASE was interrupted */
	candidate->connectable = form->datallowconn && !form->datistemplate &&
							 form->datconnlimit != DATCONNLIMIT_INVALID_DB;
}

/* A database is gone: its entry in shared memory is free again, and what its
 * processes have left on disk is removed. */
static void
forget_database(Oid dbid)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(dbid);
	if (db != NULL && !outbox_relays_any(db) && !outbox_subscribers_any(db))
		outbox_shmem_forget(db);
	LWLockRelease(outbox_shmem->lock);
	outbox_crash_note_forget(dbid);
	outbox_careful_forget(dbid);
}

static bool
any_before(const OutboxLauncherDatabase *candidate, int end)
{
	if (candidate->scout.handle != NULL)
		return true;
	for (int number = 0; number < end; number++)
	{
		if (candidate->processes[number].handle != NULL)
			return true;
	}
	return false;
}

/* Have we started a process there that is not known to have ended? */
static bool
any_process(const OutboxLauncherDatabase *candidate)
{
	return any_before(candidate, OUTBOX_PROCESSES);
}

/* The same for relays only */
bool
outbox_database_list_any_relay(const OutboxLauncherDatabase *candidate)
{
	return any_before(candidate, OUTBOX_RELAYS);
}

/* Compares our list with pg_database. Entries with a handle are kept. */
void
outbox_database_list_list(void)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;
	ListCell *cell;

	foreach (cell, outbox_candidates)
		((OutboxLauncherDatabase *) lfirst(cell))->listed = false;

	pgstat_report_activity(STATE_RUNNING, "outbox: listing databases");
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		list_database((Form_pg_database) GETSTRUCT(tuple));
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(TopMemoryContext);

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		if (candidate->listed || any_process(candidate))
			continue;
		forget_database(candidate->dbid);
		outbox_candidates = foreach_delete_current(outbox_candidates, cell);
		pfree(candidate);
	}
}
