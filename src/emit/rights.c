/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  Which roles may emit to which topics, and receive for which consumers.
 *
 * A role has a right if it has a row in outbox.emit_right (to receive: in
 * outbox.receive_right), and EXECUTE on the function that is called. PostgreSQL
 * looks after the latter: it keeps the role from being dropped, and takes it
 * away with DROP OWNED. So a row that is left means nothing, not even for
 * another role that gets the same OID; the next outbox.grant_emit() (or
 * _receive()) removes it.
 *
 * What a user has is remembered until something changes that it follows from.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "emit/rights.h"
#include "format/topic_pattern.h"
#include "store/rights.h"

PG_FUNCTION_INFO_V1(outbox_rights_changed);

/* what is remembered at once; with more of them, it begins anew */
#define USERS 8

/* The kinds of rights, in their words */
static const struct
{
	const char *table;
	const char *object;
	const char *denied;
	const char *grant;
} kinds[OUTBOX_RIGHT_KINDS] = {
	[OUTBOX_RIGHT_EMIT] = {OUTBOX_RIGHTS_TABLE, "topic", "emit events to it",
						   "grant_emit"},
	[OUTBOX_RIGHT_RECEIVE] = {OUTBOX_RECEIVERS_TABLE, "consumer",
							  "receive its messages", "grant_receive"},
};

/* What a user may emit to, or receive for */
typedef struct UserRights
{
	Oid user;
	Oid function;   /* by calls of this one, which tells the kind */
	List *patterns; /* of text */
} UserRights;

static UserRights users[USERS];
static int user_count = 0;

/* holds what these point to */
static MemoryContext rights_context = NULL;

/* the tables from which it was read; InvalidOid: there was none */
static Oid rights_tables[OUTBOX_RIGHT_KINDS];
static bool is_read[OUTBOX_RIGHT_KINDS];

/* counts what may have changed it */
static uint32 changes = 0;

static void
forget(void)
{
	changes++;
	user_count = 0;
	if (rights_context != NULL)
		MemoryContextReset(rights_context);
}

/* Roles, their memberships, the owner of the database, or privileges on
 * functions are others. */
static void
catalog_changed(Datum arg, int cache, uint32 hash)
{
	(void) arg;
	(void) cache;
	(void) hash;
	forget();
}

/* A table has changed: its rows (below), its owner; InvalidOid: perhaps any.
 * One that we did not find may have come. */
static void
table_changed(Datum arg, Oid table)
{
	(void) arg;
	for (int i = 0; i < OUTBOX_RIGHT_KINDS; i++)
	{
		if (is_read[i] &&
			(!OidIsValid(table) || !OidIsValid(rights_tables[i]) ||
			 table == rights_tables[i]))
		{
			forget();
			return;
		}
	}
}

/* Once in a session: the callbacks stay. */
static void
prepare(void)
{
	if (rights_context != NULL)
		return;
	CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
	/* whose owner is a member of pg_database_owner */
	CacheRegisterSyscacheCallback(DATABASEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
	rights_context = AllocSetContextCreate(TopMemoryContext, "outbox rights",
										   ALLOCSET_SMALL_SIZES);
}

/* The owner of the table, or InvalidOid */
static Oid
owner_of(Oid table)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* The patterns of all topics or consumers that the user has the right to */
static List *
read_rights(OutboxRightKind kind, Oid user, Oid function)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);
	Oid rights_table = get_relname_relid(kinds[kind].table, schema);
	List *patterns = NIL;
	ListCell *cell;
	Oid owner;

	rights_tables[kind] = rights_table;
	is_read[kind] = true;
	/* an older version of the extension, in which EXECUTE was all */
	if (!OidIsValid(rights_table))
		return list_make1(cstring_to_text("*"));
	owner = owner_of(rights_table);
	if (OidIsValid(owner) && has_privs_of_role(user, owner))
		return list_make1(cstring_to_text("*"));

	foreach (cell, outbox_rights_read(rights_table))
	{
		OutboxRight *right = lfirst(cell);

		if (has_privs_of_role(user, right->role) &&
			outbox_may_execute(right->role, function))
			patterns = lappend(patterns, right->topic);
	}
	return patterns;
}

/* Remembers them, and returns what is remembered. */
static List *
remember(Oid user, Oid function, List *patterns)
{
	MemoryContext old_context;
	List *copy = NIL;
	ListCell *cell;

	if (user_count == USERS)
		forget();
	old_context = MemoryContextSwitchTo(rights_context);
	foreach (cell, patterns)
	{
		text *pattern = lfirst(cell);

		copy = lappend(copy,
					   cstring_to_text_with_len(VARDATA_ANY(pattern),
												VARSIZE_ANY_EXHDR(pattern)));
	}
	MemoryContextSwitchTo(old_context);
	users[user_count].user = user;
	users[user_count].function = function;
	users[user_count].patterns = copy;
	user_count++;
	return copy;
}

static List *
rights_of(OutboxRightKind kind, Oid user, Oid function)
{
	List *patterns;
	uint32 before;

	for (int i = 0; i < user_count; i++)
	{
		if (users[i].user == user && users[i].function == function)
			return users[i].patterns;
	}
	prepare();
	before = changes;
	patterns = read_rights(kind, user, function);
	return changes == before ? remember(user, function, patterns) : patterns;
}

static void
refuse(OutboxRightKind kind, Oid user, const text *object)
{
	char *role = GetUserNameFromId(user, false);
	char *name = text_to_cstring(object);

	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 errmsg("permission denied for %s \"%s\"", kinds[kind].object, name),
		 errdetail("Role \"%s\" has no right to %s.", role,
				   kinds[kind].denied),
		 errhint("To grant it: SELECT outbox.%s(%s, ARRAY[%s]);",
				 kinds[kind].grant, quote_literal_cstr(quote_identifier(role)),
				 quote_literal_cstr(name))));
}

/*
 * May the current user emit to the topic, or receive for the consumer, which is
 * a valid one, by a call of this function, on which he has EXECUTE? Raises
 * 42501 if not. In a transaction that has locked the gate, so that the
 * extension stays what it is.
 */
void
outbox_rights_check(OutboxRightKind kind, const text *object, Oid function)
{
	Oid user = GetUserId();
	List *patterns = rights_of(kind, user, function);
	const char *name = VARDATA_ANY(object);
	int bytes = VARSIZE_ANY_EXHDR(object);

	for (int i = 0; i < list_length(patterns); i++)
	{
		ListCell *cell = list_nth_cell(patterns, i);
		text *pattern = lfirst(cell);

		if (!outbox_topic_pattern_matches(
				VARDATA_ANY(pattern), VARSIZE_ANY_EXHDR(pattern), name, bytes))
			continue;
		/* the next event's topic may well be the same: first in line */
		lfirst(cell) = linitial(patterns);
		linitial(patterns) = pattern;
		return;
	}
	refuse(kind, user, object);
}

/* outbox.rights_changed(): the trigger that tells all sessions, at commit */
Datum
outbox_rights_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.rights_changed() must be called as a "
							   "trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
