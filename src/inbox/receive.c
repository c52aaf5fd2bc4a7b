/*-------------------------------------------------------------------------
 *
 * receive.c
 *	  outbox.receive(): has this consumer received this message before? The
 *	  answer is part of the transaction: so are the effects that the message
 *	  is to have once.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h" /* for varlena, in 16 and newer */
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "emit/gate.h"
#include "emit/rights.h"
#include "store/inbox.h"

PG_FUNCTION_INFO_V1(outbox_receive);

#define CONSUMER_MAX   249
#define MESSAGE_ID_MAX 1000

/* Where receiving is impossible whatever the arguments are */
static void
check_allowed(void)
{
	outbox_shmem_require();
	if (RecoveryInProgress() || XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot receive a message in a read-only transaction"),
				 errhint("Receive messages in a READ WRITE transaction on the "
						 "primary server.")));
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot receive a message during a parallel "
						"operation"),
				 errhint("Mark the calling function PARALLEL UNSAFE.")));
}

/* Raises an error for what is null, or has not 1 to so many bytes. */
static text *
check_length(const char *name, text *value, int max)
{
	int bytes;

	if (value == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("%s must not be null", name)));
	bytes = VARSIZE_ANY_EXHDR(value);
	if (bytes == 0 || bytes > max)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must have 1 to %d bytes, not %d", name, max,
							   bytes)));
	return value;
}

/* isalnum() may know letters that are not in ASCII */
static bool
is_of_a_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		   (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* A consumer's name: what a right can name, too */
static text *
check_consumer(text *consumer)
{
	const char *name;
	int bytes;

	check_length("consumer", consumer, CONSUMER_MAX);
	name = VARDATA_ANY(consumer);
	bytes = VARSIZE_ANY_EXHDR(consumer);
	for (int i = 0; i < bytes; i++)
	{
		if (!is_of_a_name(name[i]))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("consumer \"%s\" has illegal characters",
								   text_to_cstring(consumer)),
							errhint("It may have letters and digits of ASCII, "
									"\".\", \"_\" and \"-\".")));
	}
	return consumer;
}

static text *
argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number);
}

/* outbox.receive(consumer text, message_id text) RETURNS boolean */
Datum
outbox_receive(PG_FUNCTION_ARGS)
{
	text *consumer;
	text *message_id;

	check_allowed();
	consumer = check_consumer(argument(fcinfo, 0));
	message_id =
		check_length("message_id", argument(fcinfo, 1), MESSAGE_ID_MAX);
	if (!OidIsValid(outbox_gate_lock()))
		outbox_gate_refuse();
	outbox_rights_check(OUTBOX_RIGHT_RECEIVE, consumer,
						fcinfo->flinfo->fn_oid);
	PG_RETURN_BOOL(
		outbox_inbox_add(outbox_shmem_my_database(), consumer, message_id));
}
