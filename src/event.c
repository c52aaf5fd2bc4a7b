/*-------------------------------------------------------------------------
 *
 * event.c
 *	  The columns of an event, which one is in hand, and whose it is.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "event.h"

uint64 outbox_event_in_hand = 0;

/* Is the event one that another relay than this one alone publishes? */
bool
outbox_event_is_for_other(const OutboxEvent *event, const char *relay)
{
	JsonbValue value;

	if (event->headers == NULL || !JB_ROOT_IS_OBJECT(event->headers) ||
		getKeyJsonValueFromContainer(
			&event->headers->root, OUTBOX_HEADER_RELAY,
			(int) strlen(OUTBOX_HEADER_RELAY), &value) == NULL)
		return false;
	return value.type == jbvString &&
		   (value.val.string.len != (int) strlen(relay) ||
			memcmp(value.val.string.val, relay, value.val.string.len) != 0);
}

/*
 * What a row of so many columns must look like: of outbox.event, of
 * outbox.delayed, or of a bare event (outbox_event_form()). The tables are
 * compared with it before rows are written, so that a library never writes
 * into a schema that it does not know.
 */
TupleDesc
outbox_event_tupdesc(int columns)
{
	static const struct
	{
		const char *name;
		Oid type;
	} all[OUTBOX_DELAYED_COLUMNS] = {{"id", INT8OID},
									 {"event_id", UUIDOID},
									 {"emitted_at", TIMESTAMPTZOID},
									 {"topic", TEXTOID},
									 {"key", TEXTOID},
									 {"payload", BYTEAOID},
									 {"headers", JSONBOID},
									 {"expires_at", TIMESTAMPTZOID},
									 {"type", TEXTOID},
									 {"source", TEXTOID},
									 {"content_type", TEXTOID},
									 {"deliver_at", TIMESTAMPTZOID}};
	static TupleDesc tupdescs[OUTBOX_DELAYED_COLUMNS + 1];

	Assert(columns == OUTBOX_EVENT_BARE_COLUMNS ||
		   columns == OUTBOX_EVENT_COLUMNS ||
		   columns == OUTBOX_DELAYED_COLUMNS);
	if (tupdescs[columns] == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc desc = CreateTemplateTupleDesc(columns);

		for (int i = 0; i < columns; i++)
			TupleDescInitEntry(desc, (AttrNumber) (i + 1), all[i].name,
							   all[i].type, -1, 0);
		tupdescs[columns] = desc;
		MemoryContextSwitchTo(old_context);
	}
	return tupdescs[columns];
}

/*
 * Makes the row of an event; of outbox.delayed, if it is delayed. The last
 * columns of outbox.event are left out if they are null, as in a row that is
 * older than they are: for most events, that is 8 bytes less.
 */
HeapTuple
outbox_event_form(Datum *values, bool *nulls, bool delayed)
{
	int columns = OUTBOX_EVENT_COLUMNS;

	if (delayed)
		columns = OUTBOX_DELAYED_COLUMNS;
	else if (nulls[OUTBOX_EVENT_TYPE] && nulls[OUTBOX_EVENT_SOURCE] &&
			 nulls[OUTBOX_EVENT_CONTENT_TYPE])
		columns = OUTBOX_EVENT_BARE_COLUMNS;
	return heap_form_tuple(outbox_event_tupdesc(columns), values, nulls);
}
