/*-------------------------------------------------------------------------
 *
 * failures.c
 *	  What becomes of messages that fail. Each is parked: its row, in
 *	  outbox.inbox_parked, is written in the transaction that moves the offset
 *	  behind it, and it is tried again later (retry_messages.c). What must wait
 *	  behind it is parked likewise, or not read meanwhile:
 *
 *	  on_failure		behind a message that has failed
 *	  ---------------	----------------------------------------------------
 *	  block_key			later ones of its key and partition are parked; one
 *						without a key holds up nobody
 *	  block_partition	its partition is not read
 *	  halt				nothing is read, by this worker
 *	  skip				nobody waits
 *
 * What has been read already of what is not read is parked, too, when its turn
 * comes.
 *
 * Only this process decides, between batches, whether a block has ended: no
 * message of the stream can be lost between its look and the end of the block.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "retry/backoff.h"
#include "store/inbox.h"
#include "subscribe/careful.h"
#include "subscribe/dead_messages.h"
#include "subscribe/failures.h"
#include "subscribe/message_blocks.h"
#include "subscribe/message_log.h"

/* of what a handler has raised, so much is kept */
#define ERROR_MAX 2000

/* what has been noted in memory by the current transaction */
static bool noted = false;

/*
 * The end of a transaction: a commit makes true what has been noted. After a
 * rollback it is read anew: that is rare, as handlers' errors are undone in
 * subtransactions before anything is parked.
 */
static void
end_of_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_ABORT && noted)
		outbox_message_blocks_forget();
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT)
		noted = false;
}

/* Called once, before any message is handled. */
void
outbox_failures_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	outbox_careful_begin();
}

/* Forgets what is known of parked messages: others have changed something. */
void
outbox_failures_forget(void)
{
	outbox_message_blocks_forget();
}

/* Finds out what is parked, unless it is known, in the current transaction. */
void
outbox_failures_load(void)
{
	OutboxParkedAccess access;

	if (outbox_message_blocks_are_loaded())
		return;
	outbox_parked_enter(&access);
	outbox_message_blocks_load();
	outbox_parked_leave(&access);
	/* it may have changed what it has found */
	noted = true;
}

/* Must a message wait behind another one? Then it is to be queued. */
bool
outbox_failures_waits(const OutboxMessage *message)
{
	outbox_failures_load();
	return outbox_message_blocks_has(message);
}

/*
 * A message that is to take effect again, by outbox.seek(), is not known any
 * more when it is put aside: so it does when its turn comes. One that has been
 * put aside before, and is read again meanwhile, is known then.
 */
static void
forget_id(const OutboxMessage *message)
{
	if (message->message_id != NULL &&
		message->offset < message->partition->repeat_upto)
		outbox_inbox_remove(outbox_subscriber.subscription->name,
							message->message_id);
}

static bool
is_same_bytes(const bytea *a, const bytea *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/*
 * Makes room for a message at whose place one is parked. If that is the same,
 * since its partition is read once more, it stays so, and the answer is false.
 */
static bool
make_room(const OutboxInboxOwner *owner, const OutboxMessage *message)
{
	OutboxInboxPlace place = {.topic = unconstify(char *, message->topic),
							  .partition = message->number,
							  .offset = message->offset};
	OutboxInboxFailure failure = {
		.error = "another message has come at its place: the topic has been "
				 "made anew"};
	OutboxMessage old;

	switch (outbox_inbox_parked_lock(owner, &place, &old))
	{
		case OUTBOX_INBOX_GONE:
			return true;
		case OUTBOX_INBOX_HELD:
			ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
							errmsg("a message that is parked is locked")));
			break;
		case OUTBOX_INBOX_LOCKED:
			break;
	}
	if (old.published_at == message->published_at &&
		is_same_bytes(old.key, message->key) &&
		is_same_bytes(old.payload, message->payload))
		return false;
	old.attempt--;
	outbox_dead_message(&old, &failure, OUTBOX_DEAD_FROM_PARKED);
	return true;
}

static void
add(const OutboxMessage *message, const OutboxInboxFailure *failure)
{
	OutboxInboxOwner owner = outbox_message_owner();

	if (!outbox_inbox_parked_add(&owner, message, failure) &&
		make_room(&owner, message))
		(void) outbox_inbox_parked_add(&owner, message, failure);
}

/* Parks a message behind another one. */
void
outbox_failures_queue(const OutboxMessage *message)
{
	OutboxParkedAccess access;

	outbox_parked_enter(&access);
	forget_id(message);
	add(message, NULL);
	outbox_parked_leave(&access);
	outbox_message_blocks_queue(message);
}

/* What helps against an error; NULL = nobody knows. Names that are not found
 * are mostly those without a schema, which core's hint does not tell. */
static const char *
hint_of(const ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
			return "A handler without a SET search_path of its own finds "
				   "only what is named with its schema.";
		default:
			return error->hint;
	}
}

/*
 * What is kept of an error, palloc'd: its message, detail and hint, and where
 * it was raised, the innermost place. One without a code is no error: the
 * handler asks for another attempt.
 */
static OutboxInboxFailure
failure_of(const ErrorData *error)
{
	OutboxInboxFailure failure = {0};
	const char *hint = hint_of(error);
	StringInfoData text;

	initStringInfo(&text);
	if (error->sqlerrcode != ERRCODE_SUCCESSFUL_COMPLETION)
		failure.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	appendStringInfoString(&text,
						   error->message ? error->message : "unknown error");
	if (error->detail != NULL)
		appendStringInfo(&text, "\nDETAIL: %s", error->detail);
	if (hint != NULL)
		appendStringInfo(&text, "\nHINT: %s", hint);
	if (error->context != NULL)
		appendStringInfo(&text, "\nCONTEXT: %.*s",
						 (int) strcspn(error->context, "\n"), error->context);
	text.data[pg_mbcliplen(text.data, text.len, ERROR_MAX)] = '\0';
	failure.error = text.data;
	return failure;
}

/*
 * A message of the batch has failed: parks it, or makes a dead letter of it if
 * that was the last attempt. In the current transaction, in which none of its
 * handler's effects are.
 */
void
outbox_failures_park(const OutboxMessage *message, const ErrorData *error)
{
	OutboxInboxFailure failure = failure_of(error);
	OutboxParkedAccess access;

	outbox_failures_load();
	outbox_parked_enter(&access);
	forget_id(message);
	if (outbox_backoff_is_last(message->attempt))
		outbox_dead_message(message, &failure, OUTBOX_DEAD_FROM_BATCH);
	else
	{
		failure.next_attempt = outbox_backoff_next(message->attempt);
		add(message, &failure);
		outbox_message_blocks_add(message, failure.next_attempt);
		outbox_message_log(message, OUTBOX_MESSAGE_LOG_FAILED, failure.error);
	}
	outbox_parked_leave(&access);
	noted = true;
}

/*
 * The same of one that is parked, whose row is locked. Returns when it is tried
 * again; 0 if it is a dead letter.
 */
TimestampTz
outbox_failures_again(const OutboxMessage *message, const ErrorData *error)
{
	OutboxInboxOwner owner = outbox_message_owner();
	OutboxInboxFailure failure = failure_of(error);
	OutboxParkedAccess access;

	outbox_parked_enter(&access);
	if (outbox_backoff_is_last(message->attempt))
		outbox_dead_message(message, &failure, OUTBOX_DEAD_FROM_PARKED);
	else
	{
		failure.next_attempt = outbox_backoff_next(message->attempt);
		outbox_inbox_parked_failed(&owner, message, &failure);
	}
	outbox_parked_leave(&access);
	return failure.next_attempt;
}

/* Makes a dead letter of a message of the batch that is not to be handled. */
static void
bury(const OutboxMessage *message, const char *sqlstate, const char *error,
	 OutboxDeadFrom from)
{
	OutboxInboxFailure failure = {.sqlstate = sqlstate, .error = error};
	OutboxParkedAccess access;

	outbox_parked_enter(&access);
	outbox_dead_message(message, &failure, from);
	outbox_parked_leave(&access);
}

/* Of one that has ended the process each time; see careful.c. */
void
outbox_failures_condemn(const OutboxMessage *message)
{
	bury(message, OUTBOX_CAREFUL_SQLSTATE, OUTBOX_CAREFUL_ERROR,
		 OUTBOX_DEAD_FROM_BATCH);
}

/* Of one that is not here, since it has too many bytes. */
void
outbox_failures_too_large(const OutboxMessage *message, int64 bytes)
{
	bury(message, "54000",
		 psprintf(
			 "the message has %lld bytes, which is too large to be handled",
			 (long long) bytes),
		 OUTBOX_DEAD_FROM_TOPIC);
}

/* The same as condemned, of one that is parked. */
void
outbox_failures_condemn_parked(const OutboxMessage *message)
{
	bury(message, OUTBOX_CAREFUL_SQLSTATE, OUTBOX_CAREFUL_ERROR,
		 OUTBOX_DEAD_FROM_PARKED);
}
