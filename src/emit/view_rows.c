/*-------------------------------------------------------------------------
 *
 * view_rows.c
 *	  What a view of outbox.create_view() shows: the events that the current
 *	  transaction has inserted into it.
 *
 * Events in the transaction's buffer are marked with the view that they came
 * by: a hash of its label.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "emit/deleted_rows.h"
#include "emit/view_rows.h"
#include "emit/xact_buffer.h"
#include "event.h"

PG_FUNCTION_INFO_V1(outbox_event_view_rows);

/* The view with that label, as events have it in their origin; not 0 */
uint32
outbox_view_hash(const char *label, int bytes)
{
	uint32 hash = hash_bytes((const unsigned char *) label, bytes);

	return OUTBOX_VIEW_OF(hash | (OUTBOX_VIEW_GROWN + 1));
}

/* The payload as it was before the topic's rule, which has put that many bytes
 * in front of it */
static bytea *
original_payload(Datum payload, uint32 grown)
{
	bytea *stored = DatumGetByteaPP(payload);

	return (bytea *) cstring_to_text_with_len(
		VARDATA_ANY(stored) + grown,
		(int) (VARSIZE_ANY_EXHDR(stored) - grown));
}

/* Has the event this id? */
static bool
has_id(HeapTuple tuple, const pg_uuid_t *id)
{
	bool is_null;
	Datum event_id =
		fastgetattr(tuple, OUTBOX_EVENT_EVENT_ID + 1,
					outbox_event_tupdesc(OUTBOX_EVENT_BARE_COLUMNS), &is_null);

	return memcmp(DatumGetUUIDP(event_id), id, UUID_LEN) == 0;
}

/* Puts an event into the result, if the view shows it. */
static void
put_row(ReturnSetInfo *result, const OutboxBufferReader *reader,
		HeapTuple tuple)
{
	int columns = HeapTupleHeaderGetNatts(tuple->t_data);
	uint32 grown = reader->origin & OUTBOX_VIEW_GROWN;
	bytea *payload = NULL;
	Datum values[OUTBOX_DELAYED_COLUMNS];
	bool nulls[OUTBOX_DELAYED_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	heap_deform_tuple(tuple, outbox_event_tupdesc(columns), values, nulls);
	if (outbox_deleted_rows_has(OUTBOX_VIEW_OF(reader->origin),
								DatumGetUUIDP(values[OUTBOX_EVENT_EVENT_ID]),
								reader->offset))
		return;
	if (grown > 0)
	{
		payload = original_payload(values[OUTBOX_EVENT_PAYLOAD], grown);
		values[OUTBOX_EVENT_PAYLOAD] = PointerGetDatum(payload);
	}
	tuplestore_putvalues(result->setResult, result->setDesc,
						 &values[OUTBOX_EVENT_EVENT_ID],
						 &nulls[OUTBOX_EVENT_EVENT_ID]);
	if (payload != NULL)
		pfree(payload);
}

/*
 * outbox.event_view_rows(label text, event_id uuid): what the current
 * transaction has inserted into the view with that label, and neither rolled
 * back nor deleted from it; columns as in outbox.emitted(). Of one id alone,
 * unless that is null.
 */
Datum
outbox_event_view_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const pg_uuid_t *id = PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1);
	text *label;
	uint32 view;
	OutboxBufferReader reader;
	HeapTuple tuple;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	label = PG_GETARG_TEXT_PP(0);
	view = outbox_view_hash(VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label));
	outbox_xact_buffer_rewind(&reader);
	while ((tuple = outbox_xact_buffer_next(&reader)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (OUTBOX_VIEW_OF(reader.origin) == view &&
			(id == NULL || has_id(tuple, id)))
			put_row(result, &reader, tuple);
	}
	return (Datum) 0;
}
