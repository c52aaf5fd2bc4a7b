/*-------------------------------------------------------------------------
 *
 * work.c
 *	  The transactions of a subscriber: they run as the subscription's role
 *	  (identity.c), and have the effects of messages together with what we
 *	  write down about these.
 *
 * Whose fault an error is:
 *
 *	a message's		what its handler has raised, or what that has left for the
 *					end of the transaction. Memory may be short because of it,
 *					too
 *	nobody's		all that is raised elsewhere; and in a handler, that the
 *					disk is full or cannot be read, that too many events wait
 *					to be published, that the process is to end. It goes on to
 *					the caller as it is, and the same is tried again later
 *	another one's	40001, 40P01, 55P03: two transactions could not both go on,
 *					and this one was chosen. It is tried again at once, a few
 *					times; if that does not help, it is as a message's
 *
 * Each message is handled as by a statement of its own: it sees what those
 * before it have done, and what others have committed by then.
 *
 * Locks: the gate first, as all who use our tables do (emit/gate.h), and then
 * the tables that we write to; each only if it is free at once. So nobody who
 * holds them waits for us, while we wait for him. What handlers lock is
 * theirs; PostgreSQL finds out if somebody waits in a circle.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "shared/my_relay.h"
#include "store/inbox.h"
#include "store/transaction.h"
#include "subscribe/handler.h"
#include "subscribe/identity.h"
#include "subscribe/work.h"

/* Is it a handler, or what it has left, that runs just now? */
static bool in_handler = false;

/* for what one message needs in memory, until the next one */
static MemoryContext message_context = NULL;

typedef enum Fault
{
	FAULT_NOBODYS,
	FAULT_OF_A_MESSAGE,
	FAULT_OF_ANOTHER,
} Fault;

static Fault
judge(int sqlerrcode)
{
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return FAULT_OF_ANOTHER;
	if (!in_handler)
		return FAULT_NOBODYS;
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
		return sqlerrcode == ERRCODE_OUT_OF_MEMORY ? FAULT_OF_A_MESSAGE
												   : FAULT_NOBODYS;
	if (sqlerrcode == ERRCODE_IO_ERROR || sqlerrcode == ERRCODE_SYSTEM_ERROR)
		return FAULT_NOBODYS;
	return FAULT_OF_A_MESSAGE;
}

static OutboxWorkResult
run(const char *activity, OutboxWorkBody body, void *arg)
{
	in_handler = false;
	if (outbox_store_begin_messages(activity) != OUTBOX_STORE_OK)
		return OUTBOX_WORK_BUSY;
	outbox_handler_prepare();
	outbox_identity_begin(outbox_subscriber.subscription->role);
	if (!body(arg))
	{
		outbox_store_undo();
		return OUTBOX_WORK_UNDONE;
	}
	in_handler = true;
	outbox_handler_settle();
	/* what it has left may fail even then: ON COMMIT, for instance */
	outbox_store_end();
	in_handler = false;
	return OUTBOX_WORK_DONE;
}

/* In PG_CATCH: undoes the transaction. Returns what has been raised, in that
 * context. */
static ErrorData *
undo(MemoryContext context)
{
	ErrorData *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	outbox_store_undo();
	MemoryContextSwitchTo(context);
	outbox_handler_undone(error);
	RESUME_INTERRUPTS();
	return error;
}

/*
 * Runs something in a transaction, as the subscription's role. error is set if
 * one has undone it, in the current memory context: of AGAIN and FAILED. One
 * that is nobody's fault is raised again.
 */
OutboxWorkResult
outbox_work_run(const char *activity, OutboxWorkBody body, void *arg,
				ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	volatile OutboxWorkResult result = OUTBOX_WORK_FAILED;
	Fault fault;

	*error = NULL;
	PG_TRY();
	{
		result = run(activity, body, arg);
	}
	PG_CATCH();
	{
		*error = undo(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	outbox_identity_end(result == OUTBOX_WORK_DONE);
	if (*error == NULL)
		return result;

	fault = judge((*error)->sqlerrcode);
	in_handler = false;
	if (fault == FAULT_NOBODYS)
		ReThrowError(*error);
	return fault == FAULT_OF_ANOTHER ? OUTBOX_WORK_AGAIN : OUTBOX_WORK_FAILED;
}

/* Notes the message's id. False if it was known, and is not to take effect
 * again. */
static bool
note_id(const OutboxMessage *message)
{
	text *consumer;

	if (message->message_id == NULL)
		return true;
	consumer = cstring_to_text(outbox_subscriber.subscription->name);
	if (outbox_inbox_add(outbox_my_relay.db, consumer, message->message_id))
		return true;
	return message->partition != NULL &&
		   message->offset < message->partition->repeat_upto;
}

static OutboxVerdict
call_handler(const OutboxMessage *message)
{
	OutboxVerdict verdict;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	in_handler = true;
	verdict = outbox_handler_call(message);
	in_handler = false;
	PopActiveSnapshot();
	return verdict;
}

static MemoryContext
enter_message(void)
{
	if (message_context == NULL)
		message_context = AllocSetContextCreate(
			TopMemoryContext, "outbox message", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(message_context);
	return MemoryContextSwitchTo(message_context);
}

/*
 * Handles a message in the current transaction. If it is DISCARDED or FAILED,
 * what the handler has written is there still: the transaction is to be rolled
 * back, as after any error that is raised here.
 */
OutboxOutcome
outbox_work_handle(const OutboxMessage *message)
{
	MemoryContext old_context = enter_message();
	OutboxOutcome outcome = OUTBOX_REPEATED;

	CHECK_FOR_INTERRUPTS();
	if (note_id(message))
	{
		switch (call_handler(message))
		{
			case OUTBOX_VERDICT_DONE:
				outcome = OUTBOX_HANDLED;
				break;
			case OUTBOX_VERDICT_DISCARD:
				outcome = OUTBOX_DISCARDED;
				break;
			case OUTBOX_VERDICT_RETRY:
				outcome = OUTBOX_FAILED;
				break;
		}
	}
	MemoryContextSwitchTo(old_context);
	return outcome;
}

/* The error of a handler that has raised none */
static ErrorData *
asks_for_another(void)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = ERRCODE_SUCCESSFUL_COMPLETION;
	error->message = pstrdup("the handler asks for another attempt");
	return error;
}

/* Handles it in a subtransaction, which is undone unless it has taken effect.
 * error: what was raised, in the current memory context */
static OutboxOutcome
attempt(const OutboxMessage *message, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile OutboxOutcome outcome = OUTBOX_FAILED;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		outcome = outbox_work_handle(message);
		if (outcome == OUTBOX_HANDLED)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return outcome;
}

/*
 * Handles a message in the current transaction, in a part of it that is undone
 * unless the message takes effect; the transaction goes on in any case. error:
 * why it is FAILED, in the current memory context.
 *
 * patient: what is in favour of another transaction undoes the whole one, and
 * is not the message's failure.
 */
OutboxOutcome
outbox_work_attempt(const OutboxMessage *message, bool patient,
					ErrorData **error)
{
	OutboxOutcome outcome;

	*error = NULL;
	outcome = attempt(message, error);
	if (*error != NULL)
	{
		Fault fault = judge((*error)->sqlerrcode);

		if (fault == FAULT_NOBODYS || (fault == FAULT_OF_ANOTHER && patient))
			ReThrowError(*error);
		in_handler = false;
		outbox_handler_undone(*error);
		/* what it has looked up may be half done */
		outbox_handler_prepare();
		return OUTBOX_FAILED;
	}
	if (outcome == OUTBOX_FAILED)
		*error = asks_for_another();
	/* it is known from now on, though it has had no effect */
	else if (outcome == OUTBOX_DISCARDED)
		(void) note_id(message);
	return outcome;
}
