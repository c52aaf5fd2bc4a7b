/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  The subscription's function: looked up anew in each transaction by the
 *	  name that the subscription has, so that CREATE OR REPLACE takes effect
 *	  with the next one; called for each message, with a limit of time.
 *
 * That it is not there (any more), is no function of the right kind, or may
 * not be called by the role, is no message's fault: outbox_handler_prepare()
 * raises an error, and nothing is done until it has been mended.
 *
 * A call that takes too long is cancelled. If it does not let itself be (a
 * function can catch that), the process ends after the same time once more,
 * which nothing can catch; the next process finds out which message it was
 * (careful.c). The same holds for triggers that are deferred until the end, and
 * for an error in a call that ends the process: a function can have that, too
 * (exit_on_error, transaction_timeout).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "subscribe/handler.h"
#include "subscribe/identity.h"
#include "subscribe/incoming.h"

/* how much of an answer that we do not know is told */
#define ANSWER_SHOWN 100

/* The function, as it was looked up last */
static struct
{
	MemoryContext context;
	FmgrInfo function;
	FunctionCallInfo call;
	bool returns_text;
} handler;

/* is a call under way, or what calls have left? */
static bool running = false;

/* how often the time of the call under way has run out */
static volatile sig_atomic_t rung = 0;

/* In a signal handler: the first time, the call is cancelled; the second time,
 * the process ends. */
static void
ring(void)
{
	rung++;
	if (rung > 1)
		ProcDiePending = true;
	else
		QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static TimeoutId
clock_id(void)
{
	static TimeoutId id = MAX_TIMEOUTS;

	if (id == MAX_TIMEOUTS)
		id = RegisterTimeout(USER_TIMEOUT, ring);
	return id;
}

static void
start_clock(void)
{
	int limit_ms = outbox_subscriber.subscription->handler_timeout_ms;

	rung = 0;
	running = true;
	SetCurrentStatementStartTimestamp();
	if (limit_ms > 0)
		enable_timeout_every(
			clock_id(),
			TimestampTzPlusMilliseconds(GetCurrentStatementStartTimestamp(),
										limit_ms),
			limit_ms);
}

static void
stop_clock(void)
{
	disable_timeout(clock_id(), false);
	running = false;
	/* what has come too late */
	if (rung > 0)
		QueryCancelPending = false;
}

/* Raises an error: the handler cannot be called, whatever the message is. */
static void
refuse(int sqlerrcode, const char *why)
{
	ereport(ERROR, (errcode(sqlerrcode),
					errmsg("handler %s %s",
						   outbox_subscriber.subscription->handler, why),
					errhint("Mend it, or name another one with "
							"outbox.alter_subscription().")));
}

static Oid
find(const char *name)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum oid;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(name);
	fcinfo->args[0].isnull = false;
	oid = to_regprocedure(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(oid);
}

/* Is it what outbox.subscribe() has been told? */
static void
check(Oid oid, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

	if (form->prokind != PROKIND_FUNCTION || form->proretset)
		refuse(ERRCODE_WRONG_OBJECT_TYPE, "is no function that returns once");
	if (form->pronargs != 1 ||
		form->proargtypes.values[0] != outbox_incoming_type())
		refuse(ERRCODE_INVALID_FUNCTION_DEFINITION,
			   "does not take an outbox.message");
	if (form->prorettype != VOIDOID && form->prorettype != TEXTOID)
		refuse(ERRCODE_INVALID_FUNCTION_DEFINITION,
			   "does not return void or text");
	if (!outbox_may_execute(outbox_subscriber.subscription->role, oid))
		refuse(ERRCODE_INSUFFICIENT_PRIVILEGE,
			   "may not be called by the subscription's role");
	handler.returns_text = (form->prorettype == TEXTOID);
}

/*
 * Looks the function up, for calls in the current transaction. To be called
 * again when one of them has been undone in a subtransaction: a function may
 * have left things half done. Raises an error if it cannot be called.
 */
void
outbox_handler_prepare(void)
{
	MemoryContext old_context;
	OutboxIdentity before;
	HeapTuple tuple;
	Oid oid;

	if (handler.context == NULL)
		handler.context = AllocSetContextCreate(
			TopMemoryContext, "outbox handler", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(handler.context);
	old_context = MemoryContextSwitchTo(handler.context);
	outbox_identity_elevate(&before);
	outbox_incoming_prepare(handler.context);
	oid = find(outbox_subscriber.subscription->handler);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		refuse(ERRCODE_UNDEFINED_FUNCTION, "does not exist");
	check(oid, tuple);
	ReleaseSysCache(tuple);
	fmgr_info_cxt(oid, &handler.function, handler.context);
	handler.call = palloc0(SizeForFunctionCallInfo(1));
	InitFunctionCallInfoData(*handler.call, &handler.function, 1, InvalidOid,
							 NULL, NULL);
	outbox_identity_restore(&before);
	MemoryContextSwitchTo(old_context);
}

/* What an answer means. Raises an error if it means nothing. */
static OutboxVerdict
read_answer(text *answer)
{
	const char *word = VARDATA_ANY(answer);
	int bytes = VARSIZE_ANY_EXHDR(answer);

	if (bytes == 0 || (bytes == 4 && memcmp(word, "done", 4) == 0))
		return OUTBOX_VERDICT_DONE;
	if (bytes == 5 && memcmp(word, "retry", 5) == 0)
		return OUTBOX_VERDICT_RETRY;
	if (bytes == 7 && memcmp(word, "discard", 7) == 0)
		return OUTBOX_VERDICT_DISCARD;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("the handler has returned \"%.*s\"%s",
						   pg_mbcliplen(word, bytes, ANSWER_SHOWN), word,
						   bytes > ANSWER_SHOWN ? " and more" : ""),
					errhint("It can return null, \"done\", \"retry\" or "
							"\"discard\".")));
	return OUTBOX_VERDICT_RETRY;
}

/*
 * Calls the function, as the current user, with the active snapshot. Settings
 * that it changes are as before when it returns. Raises what it raises; after
 * that, outbox_handler_undone().
 */
OutboxVerdict
outbox_handler_call(const OutboxMessage *message)
{
	FunctionCallInfo call = handler.call;
	PgStat_FunctionCallUsage usage;
	OutboxVerdict verdict = OUTBOX_VERDICT_DONE;
	int nest_level = NewGUCNestLevel();
	Datum result;

	call->args[0].value = outbox_incoming_datum(message);
	call->args[0].isnull = false;
	call->isnull = false;
	start_clock();
	pgstat_init_function_usage(call, &usage);
	result = FunctionCallInvoke(call);
	pgstat_end_function_usage(&usage, true);
	stop_clock();
	if (handler.returns_text && !call->isnull)
		verdict = read_answer(DatumGetTextPP(result));
	AtEOXact_GUC(false, nest_level);
	return verdict;
}

/*
 * Does what the calls of this transaction have left for its end, but under the
 * same limit of time: fires triggers that are deferred. Cursors that were to
 * outlive it are closed, so nothing of theirs is computed while it commits.
 */
void
outbox_handler_settle(void)
{
	int nest_level = NewGUCNestLevel();

	start_clock();
	AfterTriggerFireDeferred();
	stop_clock();
	PortalHashTableDeleteAll();
	AtEOXact_GUC(false, nest_level);
}

/* A call, or the end of a transaction, has raised that error, which has been
 * undone. It is told in better words if time was the reason. */
void
outbox_handler_undone(ErrorData *error)
{
	bool too_long = rung > 0 && error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	stop_clock();
	rung = 0;
	if (too_long)
		error->message =
			psprintf("the handler has taken longer than handler_timeout "
					 "(%d ms)",
					 outbox_subscriber.subscription->handler_timeout_ms);
}

/* The process ends: because of a call? */
bool
outbox_handler_is_reason(void)
{
	return rung > 1 || (running && !outbox_subscriber.asked_to_end);
}
