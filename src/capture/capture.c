/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  outbox.capture(): the trigger of tables that are published. Each change
 *	  of a row becomes an event in the transaction's buffer.
 *
 * Who reads the events of a key, one after another, ends with what the table
 * has for it: payload.c says what they look like. When a row gets another key,
 * it is deleted under the old one.
 *
 * AFTER triggers are called at the end of a statement, so a change that another
 * trigger made meanwhile to the same row may have been told already. Then this
 * one is left out: see is_superseded(). To make that rare, ours are the first
 * of the table, by their name.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture/capture.h"
#include "capture/condition.h"
#include "capture/payload.h"
#include "capture/plans.h"
#include "emit/event_args.h"
#include "emit/trace.h"
#include "emit/uuid7.h"
#include "emit/xact.h"

PG_FUNCTION_INFO_V1(outbox_capture);
PG_FUNCTION_INFO_V1(outbox_capture_check);

/* Adds an event to the current transaction; payload NULL: a tombstone. */
static void
emit(const OutboxCapturePlan *plan, text *key, bytea *payload)
{
	Datum values[OUTBOX_EVENT_COLUMNS] = {0};
	bool nulls[OUTBOX_EVENT_COLUMNS];
	Jsonb *headers = outbox_trace_headers(plan->headers);
	pg_uuid_t event_id;

	memset(nulls, true, sizeof(nulls));
	nulls[OUTBOX_EVENT_ID] = false;
	nulls[OUTBOX_EVENT_EMITTED_AT] = false;
	nulls[OUTBOX_EVENT_EVENT_ID] = false;
	nulls[OUTBOX_EVENT_TOPIC] = false;
	nulls[OUTBOX_EVENT_KEY] = (key == NULL);
	nulls[OUTBOX_EVENT_PAYLOAD] = (payload == NULL);
	nulls[OUTBOX_EVENT_HEADERS] = (headers == NULL);
	nulls[OUTBOX_EVENT_TYPE] = (plan->type == NULL);
	nulls[OUTBOX_EVENT_SOURCE] = (plan->origin == NULL);
	nulls[OUTBOX_EVENT_CONTENT_TYPE] = (plan->content_type == NULL);
	values[OUTBOX_EVENT_EMITTED_AT] =
		TimestampTzGetDatum(outbox_uuid7_generate(&event_id));
	values[OUTBOX_EVENT_EVENT_ID] = UUIDPGetDatum(&event_id);
	values[OUTBOX_EVENT_TOPIC] = PointerGetDatum(plan->topic);
	values[OUTBOX_EVENT_KEY] = PointerGetDatum(key);
	values[OUTBOX_EVENT_PAYLOAD] = PointerGetDatum(payload);
	values[OUTBOX_EVENT_HEADERS] = PointerGetDatum(headers);
	values[OUTBOX_EVENT_TYPE] = PointerGetDatum(plan->type);
	values[OUTBOX_EVENT_SOURCE] = PointerGetDatum(plan->origin);
	values[OUTBOX_EVENT_CONTENT_TYPE] = PointerGetDatum(plan->content_type);
	outbox_event_check(values, nulls);
	outbox_xact_add(values, nulls, false);
}

/* Has the current transaction changed or deleted this version of a row? */
static bool
is_changed(TupleTableSlot *row)
{
	HeapTupleHeader header;

	if (!TTS_IS_BUFFERTUPLE(row))
		return false;
	header = ((BufferHeapTupleTableSlot *) row)->base.tuple->t_data;
	return (header->t_infomask & HEAP_XMAX_INVALID) == 0 &&
		   !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		   TransactionIdIsCurrentTransactionId(
			   HeapTupleHeaderGetUpdateXid(header));
}

/*
 * The same, and has it been told? Whoever did it, in a trigger or a function
 * that the statement has called, has ended before we are called, and so has
 * told what came of it: if our trigger is one for what was done.
 */
static bool
is_superseded(const Trigger *trigger, TupleTableSlot *row)
{
	HeapTuple tuple;
	HeapTupleHeader header;

	if (!is_changed(row))
		return false;
	tuple = ((BufferHeapTupleTableSlot *) row)->base.tuple;
	header = tuple->t_data;
	/* to another partition: it is deleted here, and inserted there */
	if (HeapTupleHeaderIndicatesMovedPartitions(header))
		return TRIGGER_FOR_DELETE(trigger->tgtype) ||
			   TRIGGER_FOR_INSERT(trigger->tgtype);
	if (ItemPointerEquals(&header->t_ctid, &tuple->t_self))
		return TRIGGER_FOR_DELETE(trigger->tgtype);
	return TRIGGER_FOR_UPDATE(trigger->tgtype);
}

/*
 * Tells of a change: of a row that is there now, or is not there any more, or
 * of all. old or new are NULL where there is none; an update has both.
 */
static void
tell(const OutboxCapturePlan *plan, const Trigger *trigger,
	 OutboxCaptureOperation operation, TupleTableSlot *old,
	 TupleTableSlot *new)
{
	TupleTableSlot *row = new != NULL ? new : old;
	text *key;
	bytea *payload;

	if (new != NULL && is_superseded(trigger, new))
		return;
	key = row != NULL ? outbox_capture_key(plan, row) : NULL;
	payload = outbox_capture_payload(plan, operation, old, new);
	/* by the function that has made the payload? */
	if (new != NULL && OidIsValid(plan->function) &&
		is_superseded(trigger, new))
		return;

	if (payload != NULL)
		emit(plan, key, payload);
	if (operation == OUTBOX_CAPTURE_DELETE && key != NULL && plan->tombstones)
		emit(plan, key, NULL);
}

/*
 * Tells of a row that has been there before, which is locked, in a transaction
 * that has joined those that emit. Returns whether there is an event of it.
 */
bool
outbox_capture_read_row(const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	text *key;
	bytea *payload;

	if (!outbox_capture_is_wanted(plan, row))
		return false;
	key = outbox_capture_key(plan, row);
	payload = outbox_capture_payload(plan, OUTBOX_CAPTURE_READ, NULL, row);
	/* its event would come after that of the change, if there is one */
	if (OidIsValid(plan->function) && is_changed(row))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("the function that makes payloads of \"%s\" has "
						"changed the row that it was given",
						plan->table),
				 errhint("It must not do that for the operation \"read\".")));
	if (payload != NULL)
		emit(plan, key, payload);
	return payload != NULL;
}

/* Have some columns the same values, as far as can be seen without reading
 * what lies in a TOAST table? */
static bool
are_equal(const OutboxCaptureColumn *columns, int count, TupleTableSlot *one,
		  TupleTableSlot *other)
{
	for (int i = 0; i < count; i++)
	{
		const OutboxCaptureColumn *column = &columns[i];
		bool one_null;
		bool other_null;
		Datum one_value = outbox_capture_value(column, one, &one_null);
		Datum other_value = outbox_capture_value(column, other, &other_null);

		if (one_null != other_null)
			return false;
		if (!one_null && !datumIsEqual(one_value, other_value,
									   column->by_value, column->length))
			return false;
	}
	return true;
}

/*
 * Has the current transaction made this version of a row? Then its own event
 * may be still to come, and be left out for that of the next version: see
 * above. COPY FREEZE makes versions that are frozen at once.
 */
static bool
is_ours(TupleTableSlot *row)
{
	return TTS_IS_BUFFERTUPLE(row) &&
		   TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin(
			   ((BufferHeapTupleTableSlot *) row)->base.tuple->t_data));
}

static void
inserted(const OutboxCapturePlan *plan, const Trigger *trigger,
		 TupleTableSlot *new)
{
	if (outbox_capture_is_wanted(plan, new))
		tell(plan, trigger, OUTBOX_CAPTURE_INSERT, NULL, new);
}

static void
deleted(const OutboxCapturePlan *plan, const Trigger *trigger,
		TupleTableSlot *old)
{
	if (outbox_capture_is_wanted(plan, old))
		tell(plan, trigger, OUTBOX_CAPTURE_DELETE, old, NULL);
}

/* A row that is wanted from now on is new to who reads, and one that is not
 * wanted any more is gone; so is one that has another key. */
static void
updated(const OutboxCapturePlan *plan, const Trigger *trigger,
		TupleTableSlot *old, TupleTableSlot *new)
{
	bool was_wanted = outbox_capture_is_wanted(plan, old);
	bool is_wanted = outbox_capture_is_wanted(plan, new);
	bool same_key = are_equal(plan->key_column, plan->key_columns, old, new);

	if (!was_wanted || !is_wanted || !same_key)
	{
		if (was_wanted)
			tell(plan, trigger, OUTBOX_CAPTURE_DELETE, old, NULL);
		if (is_wanted)
			tell(plan, trigger, OUTBOX_CAPTURE_INSERT, NULL, new);
	}
	else if (is_ours(old) || !are_equal(plan->column, plan->columns, old, new))
		tell(plan, trigger, OUTBOX_CAPTURE_UPDATE, old, new);
}

static void
truncated(const OutboxCapturePlan *plan, const Trigger *trigger)
{
	if (plan->refuses_truncate)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot truncate a table that is published to topic "
						"\"%s\"",
						text_to_cstring(plan->topic)),
				 errhint("Use DELETE, which tells of each row, or see "
						 "on_truncate of outbox.publish_table().")));
	tell(plan, trigger, OUTBOX_CAPTURE_TRUNCATE, NULL, NULL);
}

/*
 * outbox.capture(id): the id is that of a row of outbox.capture, which says
 * where to, and how. Whoever may change the table need not have any right of
 * ours: who has published it had.
 */
Datum
outbox_capture(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	const OutboxCapturePlan *plan;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs != 1 ||
		(TRIGGER_FIRED_BY_TRUNCATE(data->tg_event)
			 ? !TRIGGER_FIRED_BEFORE(data->tg_event)
			 : !TRIGGER_FIRED_AFTER(data->tg_event) ||
				   !TRIGGER_FIRED_FOR_ROW(data->tg_event)))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.capture() must be called as a trigger "
							   "of outbox.publish_table()")));
	outbox_xact_join(false);
	plan = outbox_capture_plan(pg_strtoint32(data->tg_trigger->tgargs[0]),
							   data->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		inserted(plan, data->tg_trigger, data->tg_trigslot);
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		deleted(plan, data->tg_trigger, data->tg_trigslot);
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		updated(plan, data->tg_trigger, data->tg_trigslot, data->tg_newslot);
	else
		truncated(plan, data->tg_trigger);
	return PointerGetDatum(NULL);
}

/* outbox.check_capture(id integer, relation regclass): raises an error unless
 * rows of the table can become events by that row of outbox.capture. */
Datum
outbox_capture_check(PG_FUNCTION_ARGS)
{
	Relation rel = relation_open(PG_GETARG_OID(1), AccessShareLock);

	(void) outbox_capture_plan(PG_GETARG_INT32(0), rel);
	relation_close(rel, AccessShareLock);
	PG_RETURN_VOID();
}
