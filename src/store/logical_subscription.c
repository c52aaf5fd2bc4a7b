/*-------------------------------------------------------------------------
 *
 * logical_subscription.c
 *	  Rows of ours never come in by logical replication.
 *
 * A database publishes what was committed in it. The same events replicated
 * into another outbox would be published twice, with ids that the other one
 * uses itself; replicated positions would hide its own events, and TRUNCATE
 * would remove them. A publication FOR ALL TABLES has our tables in it, so
 * the subscriber keeps them out, in two ways:
 *
 *	pg_subscription_rel		after each command that fills it, our tables are
 *							taken out again, in the same transaction. Core
 *							then copies nothing and skips all changes, as of
 *							tables that have been added to a publication and
 *							not yet to the subscription.
 *	triggers				for subscriptions that are older than outbox, and
 *							other tools: rows that an apply worker brings are
 *							skipped. TRUNCATE cannot be, and is refused.
 *
 * What a trigger of the subscriber emits, or does to our tables, while changes
 * are applied is the subscriber's own: nothing here stops it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_subscription_rel.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "replication/logicalworker.h"
#include "replication/origin.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "store/logical_subscription.h"
#include "store/transaction.h"

PG_FUNCTION_INFO_V1(outbox_skip_replicated);

/*
 * Takes our tables out of a subscription, or out of all of this database.
 * Those that are being copied stay until that has ended: the triggers empty
 * the copy. Returns how many were taken out.
 */
static int
leave(Oid subscription)
{
	Oid extension = get_extension_oid(OUTBOX_EXTENSION, true);
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
	int count = 0;

	if (!OidIsValid(extension))
		return 0;
	rel = table_open(SubscriptionRelRelationId, RowExclusiveLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_subscription_rel form =
			(Form_pg_subscription_rel) GETSTRUCT(tuple);

		if ((OidIsValid(subscription) && form->srsubid != subscription) ||
			(form->srsubstate != SUBREL_STATE_INIT &&
			 form->srsubstate != SUBREL_STATE_READY) ||
			getExtensionOfObject(RelationRelationId, form->srrelid) !=
				extension)
			continue;
		CatalogTupleDelete(rel, &tuple->t_self);
		count++;
	}
	systable_endscan(scan);
	/* the lock stays, as that of the command */
	table_close(rel, NoLock);
	return count;
}

/* The subscription into which a command may put tables, or NULL */
const char *
outbox_logical_subscription_of(Node *stmt)
{
	if (IsA(stmt, CreateSubscriptionStmt))
		return ((CreateSubscriptionStmt *) stmt)->subname;
	if (IsA(stmt, AlterSubscriptionStmt))
		return ((AlterSubscriptionStmt *) stmt)->subname;
	return NULL;
}

/* Such a command has been run: takes our tables out again, and tells it. */
void
outbox_logical_subscription_altered(const char *name)
{
	Oid subscription;

	CommandCounterIncrement();
	subscription = get_subscription_oid(name, true);
	if (OidIsValid(subscription) && leave(subscription) > 0)
		ereport(NOTICE,
				(errmsg("tables of extension \"%s\" are left out of "
						"subscription \"%s\"",
						OUTBOX_EXTENSION, name),
				 errdetail("Events are published by the database in which "
						   "they were committed.")));
}

/*
 * Takes our tables out of the subscriptions that have been there before this
 * library, in a transaction of its own, when the relay starts. An apply worker
 * that is at work may not notice; then it meets the triggers.
 */
void
outbox_logical_subscription_leave_all(void)
{
	outbox_store_begin_unlocked("outbox: looking at subscriptions");
	if (leave(InvalidOid) > 0)
		ereport(LOG, (errmsg("outbox has taken its tables out of this "
							 "database's subscriptions"),
					  errdetail("Events are published by the database in "
								"which they were committed.")));
	outbox_store_end();
}

/*
 * Is a change brought by replication itself, and not by a trigger that it has
 * fired? That is so for core's workers, and for those of extensions that
 * replicate: they all have an origin. Called from a trigger.
 */
static bool
is_replicated(void)
{
	if (!IsLogicalWorker() && replorigin_session_origin == InvalidRepOriginId)
		return false;
	return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA &&
		   DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) ==
			   1;
}

static void
report_skipped(const char *table)
{
	static bool told = false;

	if (!told)
		ereport(WARNING,
				(errmsg("replicated rows of table \"%s.%s\", and of others of "
						"extension \"%s\", are skipped",
						OUTBOX_SCHEMA, table, OUTBOX_EXTENSION),
				 errdetail("Events are published by the database in which "
						   "they were committed."),
				 errhint("ALTER SUBSCRIPTION ... REFRESH PUBLICATION leaves "
						 "these tables out.")));
	told = true;
}

/*
 * outbox.skip_replicated(): the trigger of all our tables, before each row and
 * before TRUNCATE. Raises 55000 for TRUNCATE.
 */
Datum
outbox_skip_replicated(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple row;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.skip_replicated() must be called as a "
							   "trigger")));
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
													 : trigger->tg_trigtuple;
	if (!is_replicated())
		return PointerGetDatum(row);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" cannot be truncated by replication",
						OUTBOX_SCHEMA,
						RelationGetRelationName(trigger->tg_relation)),
				 errhint("ALTER SUBSCRIPTION ... REFRESH PUBLICATION leaves "
						 "the tables of extension \"%s\" out.",
						 OUTBOX_EXTENSION)));
	report_skipped(RelationGetRelationName(trigger->tg_relation));
	return PointerGetDatum(NULL);
}
