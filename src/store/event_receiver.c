/*-------------------------------------------------------------------------
 *
 * event_receiver.c
 *	  Takes the rows of a query as they come from the executor, each where it
 *	  is, in the buffer of its page: nothing is copied or collected, and no
 *	  more is read than the consumer takes.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "event.h"
#include "store/event_receiver.h"
#include "store/transaction.h"

typedef struct EventReceiver
{
	DestReceiver pub;
	OutboxPageReader reader;
	MemoryContext row_context;
	ErrorContextCallback *context; /* of the caller */
	uint64 rows;                   /* taken */
	uint64 last_id; /* of the last one that was looked at, 0 = none */
} EventReceiver;

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	(void) self;
	(void) operation;
	(void) typeinfo;
}

static void
receiver_noop(DestReceiver *self)
{
	(void) self;
}

/* A column that may be null, detoasted */
static void *
varlena_or_null(const Datum *values, const bool *nulls,
				OutboxEventColumn column)
{
	return nulls[column] ? NULL : PG_DETOAST_DATUM_PACKED(values[column]);
}

/* Fills an event from the columns of a row of outbox.event. It points to them,
 * or to what is palloc'd. */
static void
fill_event(OutboxEvent *event, const Datum *values, const bool *nulls)
{
	event->id = (uint64) DatumGetInt64(values[OUTBOX_EVENT_ID]);
	event->event_id = DatumGetUUIDP(values[OUTBOX_EVENT_EVENT_ID]);
	event->emitted_at = DatumGetTimestampTz(values[OUTBOX_EVENT_EMITTED_AT]);
	event->topic = varlena_or_null(values, nulls, OUTBOX_EVENT_TOPIC);
	event->key = varlena_or_null(values, nulls, OUTBOX_EVENT_KEY);
	event->payload = varlena_or_null(values, nulls, OUTBOX_EVENT_PAYLOAD);
	event->headers = nulls[OUTBOX_EVENT_HEADERS]
						 ? NULL
						 : DatumGetJsonbP(values[OUTBOX_EVENT_HEADERS]);
	event->expires_at =
		nulls[OUTBOX_EVENT_EXPIRES_AT]
			? DT_NOEND
			: DatumGetTimestampTz(values[OUTBOX_EVENT_EXPIRES_AT]);
	event->type = varlena_or_null(values, nulls, OUTBOX_EVENT_TYPE);
	event->source = varlena_or_null(values, nulls, OUTBOX_EVENT_SOURCE);
	event->content_type =
		varlena_or_null(values, nulls, OUTBOX_EVENT_CONTENT_TYPE);

	/* the extra columns of parked events */
	event->attempts = 0;
	event->blocking = event->retrying = false;
	ItemPointerSetInvalid(&event->tid);
}

/* Is the event in hand taken by its topic? Nothing else of it is read. */
static bool
pass_topic(const OutboxPageReader *reader, TupleTableSlot *slot)
{
	bool is_null;
	Datum topic = slot_getattr(slot, OUTBOX_EVENT_TOPIC + 1, &is_null);

	return reader->pass_topic(outbox_event_in_hand, DatumGetTextPP(topic),
							  reader->arg);
}

/* Gives the event in hand to the reader; false if it does not take it. */
static bool
give(const OutboxPageReader *reader, TupleTableSlot *slot)
{
	OutboxEvent event;

	if (reader->pass != NULL &&
		reader->pass(outbox_event_in_hand, reader->arg))
		return true;
	if (reader->pass_topic != NULL && pass_topic(reader, slot))
		return true;
	slot_getallattrs(slot);
	fill_event(&event, slot->tts_values, slot->tts_isnull);
	if (slot->tts_tupleDescriptor->natts > OUTBOX_EVENT_COLUMNS)
	{
		const Datum *extra = &slot->tts_values[OUTBOX_EVENT_COLUMNS];

		event.attempts = DatumGetInt32(extra[0]);
		event.blocking = DatumGetBool(extra[1]);
		event.retrying = DatumGetBool(extra[2]);
		event.tid = *(ItemPointer) DatumGetPointer(extra[3]);
	}
	return reader->take(&event, reader->arg);
}

/* Takes a row; false = the executor is to stop. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	EventReceiver *receiver = (EventReceiver *) self;
	MemoryContext old_context = MemoryContextSwitchTo(receiver->row_context);
	ErrorContextCallback *context = error_context_stack;
	uint64 outer = outbox_event_in_hand;
	bool is_null;
	bool taken;

	/* what is said of an event is not about the query */
	error_context_stack = receiver->context;
	receiver->last_id = outbox_event_in_hand = (uint64) DatumGetInt64(
		slot_getattr(slot, OUTBOX_EVENT_ID + 1, &is_null));
	taken = give(&receiver->reader, slot);
	if (taken)
		receiver->rows++;
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(receiver->row_context);
	error_context_stack = context;
	/* an error in reading the next one is not this one's */
	outbox_event_in_hand = outer;
	return taken;
}

/* Runs a query whose rows the receiver takes, at most limit unless it is 0. */
static void
run(EventReceiver *receiver, OutboxStatement *statement, Datum *values,
	const char *nulls, int limit)
{
	ParamListInfo params = makeParamList(statement->nargs);
	SPIExecuteOptions options = {0};
	int result;

	for (int i = 0; i < statement->nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = (nulls != NULL && nulls[i] == 'n');
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = statement->types[i];
	}

	receiver->pub.receiveSlot = receive_row;
	receiver->pub.rStartup = receiver_startup;
	receiver->pub.rShutdown = receiver_noop;
	receiver->pub.rDestroy = receiver_noop;
	receiver->pub.mydest = DestNone;
	receiver->context = error_context_stack;
	receiver->row_context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox row", ALLOCSET_DEFAULT_SIZES);

	options.params = params;
	options.read_only = statement->read_only;
	options.tcount = (uint64) limit;
	options.dest = &receiver->pub;

	/* a request to end waits for the page, so that what the consumer has
	 * taken is not forgotten; there is no lock to wait for any more */
	HOLD_INTERRUPTS();
	result = SPI_execute_plan_extended(outbox_store_plan(statement), &options);
	RESUME_INTERRUPTS();
	if (result < 0)
		elog(ERROR, "query \"%s\" failed: %s", statement->sql,
			 SPI_result_code_string(result));
}

/*
 * Gives the rows of a query, which begin with the columns of outbox.event (and
 * may go on with those of parked events), to the consumer. Returns how many it
 * has taken.
 */
uint64
outbox_store_stream(OutboxStatement *statement, Datum *values,
					const char *nulls, OutboxEventConsumer consumer, void *arg)
{
	EventReceiver receiver = {.reader = {.take = consumer, .arg = arg}};

	run(&receiver, statement, values, nulls, 0);
	return receiver.rows;
}

/*
 * The same for at most limit rows, for a reader, who need not look at all of
 * them. The row behind the last one is not read, and the last one stays in
 * hand for what the caller does next.
 */
uint64
outbox_store_stream_page(OutboxStatement *statement, Datum *values, int limit,
						 const OutboxPageReader *reader)
{
	EventReceiver receiver = {.reader = *reader};

	run(&receiver, statement, values, NULL, limit);
	if (receiver.last_id != 0)
		outbox_event_in_hand = receiver.last_id;
	return receiver.rows;
}

/* The same in a transaction of its own. rows becomes how many it has taken. */
OutboxStoreStatus
outbox_store_read(const char *activity, OutboxStatement *statement,
				  Datum *values, OutboxEventConsumer consumer, void *arg,
				  uint64 *rows)
{
	OutboxStoreStatus status = outbox_store_begin_for(activity, statement);

	*rows = 0;
	if (status != OUTBOX_STORE_OK)
		return status;
	*rows = outbox_store_stream(statement, values, NULL, consumer, arg);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}
