/*-------------------------------------------------------------------------
 *
 * ddl_hooks.c
 *	  Watches for commands that make relays come and go, and tells the
 *	  launcher and the relays, once they have committed.
 *
 *	CREATE EXTENSION				start a relay
 *	DROP EXTENSION, DROP SCHEMA		wake the relay: it looks, and ends
 *	CREATE, ALTER, DROP DATABASE	wake the launcher: it looks at the list
 *	DROP DATABASE, RENAME, SET		end the relay first, and start none until
 *	TABLESPACE, CREATE .. TEMPLATE	the command is over: they need a database
 *									without connections, and would wait for
 *									the relay for 5 s and fail
 *
 * Rolled back, the first three do nothing, and the last lets the relay start
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ddl/ddl_hooks.h"
#include "ddl/extension_locks.h"
#include "ddl/protect.h"
#include "shared/chores.h"
#include "shared/horizon.h"
#include "shared/load_guard.h"
#include "shared/prepared.h"
#include "shared/relays.h"
#include "shared/subscribers.h"
#include "store/logical_subscription.h"

static object_access_hook_type prev_object_access_hook = NULL;
static ProcessUtility_hook_type prev_process_utility_hook = NULL;

/* What the current transaction has done */
static bool extension_changed = false;
static bool extension_present = false; /* known at pre-commit */
static bool database_changed = false;
static bool relays_changed = false;
static bool parked_changed = false;
static Oid held_off_dbid = InvalidOid;

PG_FUNCTION_INFO_V1(outbox_first_id);
PG_FUNCTION_INFO_V1(outbox_relays_changed);
PG_FUNCTION_INFO_V1(outbox_parked_changed);

/* An extension is created, altered or dropped. */
static void
note_extension(const char *name)
{
	if (name != NULL && strcmp(name, OUTBOX_EXTENSION) == 0)
		outbox_prepared_refuse(
			"created, altered or dropped extension \"" OUTBOX_EXTENSION "\"");
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
			  void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access != OAT_POST_CREATE && access != OAT_DROP &&
		access != OAT_POST_ALTER)
		return;
	if (class_id == ExtensionRelationId)
	{
		extension_changed = true;
		/* one that is being created has no name yet, see below */
		note_extension(get_extension_name(object_id));
	}
	else if (class_id == DatabaseRelationId)
		database_changed = true;
}

/* Is our extension here, as this transaction sees it? A schema that looks like
 * ours can be made by anybody. */
static bool
find_extension(void)
{
	return OidIsValid(get_extension_oid(OUTBOX_EXTENSION, true));
}

/* Lets a blocked database have its relay again. */
static void
unblock(void)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->kept_away[outbox_shmem_my_proc()].for_ddl = InvalidOid;
	db = outbox_shmem_find(held_off_dbid);
	if (db != NULL)
		db->start_wanted = true;
	LWLockRelease(outbox_shmem->lock);
	held_off_dbid = InvalidOid;
	database_changed = true;
}

/*
 * Ends the relay of a database and keeps it from starting until the end of
 * the transaction, also where none has been yet. Only one database at a time:
 * but for RENAME, these commands do not run in a transaction block.
 */
static void
block(Oid dbid)
{
	OutboxDatabase *db;

	if (OidIsValid(held_off_dbid))
		unblock();
	outbox_prepared_refuse("renamed a database");

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->kept_away[outbox_shmem_my_proc()].for_ddl = dbid;
	db = outbox_shmem_find(dbid);
	if (db != NULL)
	{
		outbox_relays_end(db);
		outbox_subscribers_end(db);
	}
	LWLockRelease(outbox_shmem->lock);
	held_off_dbid = dbid;
}

static bool
user_can_create_databases(void)
{
	HeapTuple tuple;
	bool can = superuser();

	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		can = can || ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return can;
}

/* May the user do such a thing with the database at all? */
static bool
is_allowed(Node *stmt, Oid dbid)
{
	HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dbid));
	Form_pg_database form;
	bool allowed;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_database) GETSTRUCT(tuple);
	allowed = has_privs_of_role(GetUserId(), form->datdba);
	if (IsA(stmt, CreatedbStmt))
		allowed =
			(allowed || form->datistemplate) && user_can_create_databases();
	ReleaseSysCache(tuple);
	return allowed;
}

/* The database that CREATE DATABASE copies */
static const char *
template_of(CreatedbStmt *stmt)
{
	ListCell *cell;

	foreach (cell, stmt->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* ALTER DATABASE .. SET TABLESPACE, and not one of its other options */
static bool
sets_tablespace(AlterDatabaseStmt *stmt)
{
	ListCell *cell;

	foreach (cell, stmt->options)
	{
		if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
			return true;
	}
	return false;
}

/* Does the command make the session as good as new? */
static bool
discards_all(Node *stmt)
{
	return IsA(stmt, DiscardStmt) &&
		   ((DiscardStmt *) stmt)->target == DISCARD_ALL;
}

/* The database that the command needs without connections, or NULL */
static const char *
database_to_empty(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) stmt)->dbname;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) stmt)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			if (sets_tablespace((AlterDatabaseStmt *) stmt))
				return ((AlterDatabaseStmt *) stmt)->dbname;
			return NULL;
		case T_CreatedbStmt:
			return template_of((CreatedbStmt *) stmt);
		default:
			return NULL;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string,
				bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *query_env,
				DestReceiver *dest, QueryCompletion *completion)
{
	const char *database = database_to_empty(pstmt->utilityStmt);
	/* asked now: a command that ends the transaction may free its tree */
	const char *subscription =
		outbox_logical_subscription_of(pstmt->utilityStmt);
	bool as_new = discards_all(pstmt->utilityStmt);

	if (database != NULL && context == PROCESS_UTILITY_TOPLEVEL)
	{
		Oid dbid = get_database_oid(database, true);

		if (dbid != MyDatabaseId && is_allowed(pstmt->utilityStmt, dbid))
			block(dbid);
	}

	outbox_protect_check(pstmt->utilityStmt);
	if (IsA(pstmt->utilityStmt, CreateExtensionStmt))
		note_extension(((CreateExtensionStmt *) pstmt->utilityStmt)->extname);
	outbox_extension_locks_lock(pstmt->utilityStmt);

	if (prev_process_utility_hook)
		prev_process_utility_hook(pstmt, query_string, read_only_tree, context,
								  params, query_env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, completion);

	if (subscription != NULL)
		outbox_logical_subscription_altered(subscription);
	if (as_new)
		outbox_load_guard_end();
}

/* The transaction with CREATE or DROP EXTENSION has committed. */
static void
notify_extension_changed(void)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(MyDatabaseId);
	if (db != NULL)
	{
		/* which relays there are is to be found out anew, and all else */
		pg_atomic_fetch_add_u32(&db->relay_changes, 1);
		pg_atomic_fetch_add_u32(&db->subscribers.changes, 1);
		db->start_wanted = extension_present || db->start_wanted;
	}
	LWLockRelease(outbox_shmem->lock);

	if (db == NULL)
		return;
	if (extension_present)
		outbox_shmem_wake_launcher();
	/* a relay looks whether its tables are still the same */
	pg_atomic_fetch_add_u32(&db->extension_changes, 1);
	outbox_relays_wake(db);
	outbox_subscribers_wake(db);
}

/* The transaction has changed outbox.relay, and has committed. */
static void
notify_relays_changed(void)
{
	OutboxDatabase *db = outbox_shmem_my_database();

	pg_atomic_fetch_add_u32(&db->relay_changes, 1);
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db->start_wanted = true;
	LWLockRelease(outbox_shmem->lock);
	outbox_shmem_wake_launcher();
	outbox_relays_wake(db);
}

/*
 * The transaction has requeued or discarded parked events. The order of the
 * steps is that of horizon.c. Rolled back, it has held locks on them that the
 * relay may have met.
 */
static void
notify_parked_changed(bool committed)
{
	OutboxDatabase *db = outbox_shmem_my_database();

	pg_atomic_fetch_add_u32(&db->parked_changes, 1);
	outbox_chores_wanted(db);
	outbox_horizon_leave(db,
						 committed ? XactLastCommitEnd : InvalidXLogRecPtr);
	outbox_relays_wake(db);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			/* before xact.c enters for the ids of its events */
			if (parked_changed)
				outbox_horizon_enter(outbox_shmem_my_database());
			if (!extension_changed)
				break;
			extension_present = find_extension();
			/* raises an error if there is no room for one more */
			if (extension_present)
				outbox_shmem_my_database();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE: /* of what is left of it: prepared.c */
			/* before it is unblocked: the launcher looks at it afterwards */
			if (database_changed || OidIsValid(held_off_dbid))
				pg_atomic_fetch_add_u32(&outbox_shmem->ddl_count, 1);
			if (OidIsValid(held_off_dbid))
				unblock();
			if (extension_changed && event == XACT_EVENT_COMMIT)
				notify_extension_changed();
			if (database_changed)
				outbox_shmem_wake_launcher();
			if (relays_changed && event == XACT_EVENT_COMMIT)
				notify_relays_changed();
			if (parked_changed)
				notify_parked_changed(event == XACT_EVENT_COMMIT);
			extension_changed = extension_present = database_changed = false;
			relays_changed = parked_changed = false;
			break;
		default:
			break;
	}
}

/*
 * outbox.first_id(): where the sequence of a new outbox starts. Above all ids
 * of an outbox that this database had before, so that what is still in memory
 * of that one cannot be taken for events of this one.
 */
Datum
outbox_first_id(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	if (outbox_shmem == NULL)
	{
		ereport(WARNING, (errmsg("outbox is not loaded"),
						  errdetail("No event can be emitted or published."),
						  errhint("Add outbox to shared_preload_libraries and "
								  "restart the server.")));
		PG_RETURN_INT64(1);
	}
	PG_RETURN_INT64(
		(int64) pg_atomic_read_u64(&outbox_shmem_my_database()->last_issued) +
		1);
}

/*
 * outbox.relays_changed(): the relays look at outbox.relay again once this
 * transaction has committed.
 */
Datum
outbox_relays_changed(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	/* so that nothing is left to fail after the commit */
	if (outbox_shmem != NULL)
	{
		outbox_shmem_my_database();
		outbox_prepared_refuse("changed relays");
		relays_changed = true;
	}
	PG_RETURN_VOID();
}

/*
 * outbox.parked_changed(): the relay looks at outbox.parked again once this
 * transaction has committed.
 */
Datum
outbox_parked_changed(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	/* so that nothing is left to fail after the commit */
	if (outbox_shmem != NULL)
	{
		outbox_shmem_my_database();
		outbox_prepared_refuse("requeued, discarded, replayed or paused "
							   "events");
		parked_changed = true;
	}
	PG_RETURN_VOID();
}

/* Called once, while the postmaster loads the library. */
void
outbox_ddl_install_hooks(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = object_access;
	prev_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(xact_callback, NULL);
}
