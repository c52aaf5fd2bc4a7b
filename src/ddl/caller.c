/*-------------------------------------------------------------------------
 *
 * caller.c
 *	  Who has called a function that runs as its owner.
 *
 * The function's last argument has outbox.note_caller() as its default, which
 * is evaluated as the caller, right before the call; the function takes what
 * was noted as the first thing that it does. Who gives that argument himself
 * has noted nobody. What is noted does not outlive the transaction, nor the
 * subtransaction: of a call that was cancelled in between nothing is left.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"

PG_FUNCTION_INFO_V1(outbox_note_caller);
PG_FUNCTION_INFO_V1(outbox_noted_caller);

static Oid noted = InvalidOid;
static SubTransactionId noted_in = InvalidSubTransactionId;

static void
xact_callback(XactEvent event, void *arg)
{
	(void) event;
	(void) arg;
	noted = InvalidOid;
}

/* outbox.note_caller() */
Datum
outbox_note_caller(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	(void) fcinfo;
	if (!registered)
		RegisterXactCallback(xact_callback, NULL);
	registered = true;
	noted = GetUserId();
	noted_in = GetCurrentSubTransactionId();
	PG_RETURN_OID(noted);
}

/* outbox.noted_caller(): raises 22023 if nobody was noted. */
Datum
outbox_noted_caller(PG_FUNCTION_ARGS)
{
	Oid caller = noted;

	(void) fcinfo;
	if (!OidIsValid(caller) || noted_in != GetCurrentSubTransactionId())
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("caller cannot be given"),
						errhint("Leave this argument out.")));
	noted = InvalidOid;
	PG_RETURN_OID(caller);
}
