/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  As whom a subscriber's transactions run: as the subscription's role, and
 *	  as nothing that is more, whatever its handler does.
 *
 * The process is connected as the bootstrap superuser, because its own tables
 * are nobody else's business. A transaction begins as that; then, and until it
 * has ended, it is the role that counts, for each check of a privilege:
 *
 *	current user		the role, until after the commit: so for what is
 *						deferred until then, too.
 *	session user		the role: functions of others ask for session_user.
 *	security context	SECURITY_LOCAL_USERID_CHANGE, by which SET ROLE, RESET
 *						ROLE, SET SESSION AUTHORIZATION, and functions that have
 *						these in a SET clause, are refused in every form. So
 *						nobody comes back to whom we are connected as.
 *
 * An error, in the transaction or in a subtransaction of it, leaves the user as
 * it was at its begin: the superuser for the whole, the role for a part. What
 * we do there ourselves (the offset, what is parked) is done as the superuser
 * for just those statements. No code of the handler can be run by them, as
 *
 *  - settings that a call has changed, search_path above all, are as before
 *    when it returns (handler.c), so ours name the same objects as always; and
 *    they name them with their schemas, with types and operators of pg_catalog,
 *    which is searched first. pg_temp is never searched for functions;
 *  - no trigger of others is fired by them: who may have one on our tables is
 *    not who may do everything. As with relays, there are only those that the
 *    tables' owner has enabled for session_replication_role = replica, which is
 *    ours, outside of these transactions too;
 *  - what the handler has deferred waits for the end of the transaction.
 *
 * What a session could keep for the next transaction ends with each: settings,
 * cursors, prepared statements, and advisory locks. Temporary objects stay
 * until the role changes. LISTEN is refused by the server in a background
 * process. Parameters that need a superuser, and COMMIT, are refused to the
 * handler as to any function of the role.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/syscache.h"

#include "shared/my_relay.h"
#include "subscribe/identity.h"

static Oid role_now = InvalidOid;  /* of a transaction that has begun */
static Oid last_role = InvalidOid; /* of one that was committed */

/* Another role than before: it finds nothing that the last one has made. */
static void
forget_role(void)
{
	ResetTempTableNamespace();
	ResetSequenceCaches();
}

/* From here on, the current transaction is the role's. Raises an error if there
 * is no such role. */
void
outbox_identity_begin(Oid role)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("the subscription's role does not exist"),
						errdetail("It had the OID %u.", role),
						errhint("Name another one with "
								"outbox.alter_subscription().")));
	if (OidIsValid(last_role) && role != last_role)
		forget_role();
	role_now = role;
	SetSessionAuthorization(role, superuser_arg(role));
	SetUserIdAndSecContext(role, SECURITY_LOCAL_USERID_CHANGE);
	/* not as a setting: all plans would be made anew each time */
	SessionReplicationRole = SESSION_REPLICATION_ROLE_ORIGIN;
}

/* The transaction has ended, or was undone: the session is ours again, and as
 * it was. */
void
outbox_identity_end(bool committed)
{
	if (!OidIsValid(role_now))
		return;
	if (committed)
		last_role = role_now;
	role_now = InvalidOid;
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, 0);
	SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);
	ResetAllOptions();
	SessionReplicationRole = SESSION_REPLICATION_ROLE_REPLICA;
	PortalHashTableDeleteAll();
	DropAllPreparedStatements();
	outbox_my_relay_lock_alone();
}

/* What follows is our own doing, in a transaction of the role. */
void
outbox_identity_elevate(OutboxIdentity *before)
{
	GetUserIdAndSecContext(&before->user, &before->context);
	before->replication_role = SessionReplicationRole;
	SessionReplicationRole = SESSION_REPLICATION_ROLE_REPLICA;
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   before->context | SECURITY_LOCAL_USERID_CHANGE);
}

void
outbox_identity_restore(const OutboxIdentity *before)
{
	SessionReplicationRole = before->replication_role;
	SetUserIdAndSecContext(before->user, before->context);
}
