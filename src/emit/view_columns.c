/*-------------------------------------------------------------------------
 *
 * view_columns.c
 *	  What the columns of a view of events are: the trigger's arguments say
 *	  so. These are the view's label, what comes before the names of topics,
 *	  and then for each column what of the event it is.
 *
 * So the C code knows no layouts, and a column may have any name. The label
 * ties the trigger to the query of its view, outbox.event_view_rows(label): it
 * is the view's first name, for an oid would not survive a dump.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "emit/event_args.h"
#include "emit/view_columns.h"

/* before the trigger's arguments for columns: label and prefix */
#define OWN_ARGS   2

#define HEADER_ARG "header "

/* Raises 39P01: the trigger is not one of outbox.create_view(). */
void
outbox_view_refuse_trigger(void)
{
	ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					errmsg("outbox.event_view() must be called as a trigger "
						   "of outbox.create_view()")));
}

/* Which types columns may have; those of key and payload are looked at when
 * there is a value. */
static bool
type_fits(int what, Oid type)
{
	switch (what)
	{
		case OUTBOX_EVENT_EVENT_ID:
			return type == UUIDOID;
		case OUTBOX_EVENT_KEY:
		case OUTBOX_EVENT_PAYLOAD:
			return true;
		case OUTBOX_EVENT_HEADERS:
			return type == JSONBOID;
		case OUTBOX_EVENT_EMITTED_AT:
		case OUTBOX_EVENT_EXPIRES_AT:
		case OUTBOX_DELAYED_DELIVER_AT:
			return type == TIMESTAMPTZOID;
		default:
			return type == TEXTOID || type == VARCHAROID;
	}
}

/* What an argument of the trigger calls a column */
static void
set_column(OutboxViewColumn *column, const char *arg)
{
	static const struct
	{
		const char *name;
		int what;
	} names[] = {
		{"event_id", OUTBOX_EVENT_EVENT_ID},
		{"topic", OUTBOX_EVENT_TOPIC},
		{"key", OUTBOX_EVENT_KEY},
		{"payload", OUTBOX_EVENT_PAYLOAD},
		{"headers", OUTBOX_EVENT_HEADERS},
		{"type", OUTBOX_EVENT_TYPE},
		{"source", OUTBOX_EVENT_SOURCE},
		{"content_type", OUTBOX_EVENT_CONTENT_TYPE},
		{"emitted_at", OUTBOX_EVENT_EMITTED_AT},
		{"expires_at", OUTBOX_EVENT_EXPIRES_AT},
		{"deliver_at", OUTBOX_DELAYED_DELIVER_AT},
		{"tracing", OUTBOX_VIEW_TRACING},
	};

	if (strncmp(arg, HEADER_ARG, strlen(HEADER_ARG)) == 0)
	{
		column->what = OUTBOX_VIEW_HEADER;
		column->header = arg + strlen(HEADER_ARG);
		return;
	}
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (strcmp(arg, names[i].name) == 0)
		{
			column->what = names[i].what;
			return;
		}
	}
	outbox_view_refuse_trigger();
}

/* Reads the trigger's arguments, once in a query. Raises 55000 if the view has
 * other columns than they say. */
const OutboxView *
outbox_view_of(const TriggerData *data, FmgrInfo *flinfo)
{
	const Trigger *trigger = data->tg_trigger;
	TupleDesc desc = RelationGetDescr(data->tg_relation);
	int columns = trigger->tgnargs - OWN_ARGS;
	OutboxView *view = flinfo->fn_extra;

	if (view != NULL)
		return view;
	if (columns < 1)
		outbox_view_refuse_trigger();
	view = MemoryContextAllocZero(flinfo->fn_mcxt,
								  offsetof(OutboxView, column) +
									  columns * sizeof(OutboxViewColumn));
	view->label = trigger->tgargs[0];
	view->prefix = trigger->tgargs[1];
	view->columns = columns;
	view->id_column = view->topic_column = -1;
	for (int i = 0; i < columns; i++)
	{
		OutboxViewColumn *column = &view->column[i];

		set_column(column, trigger->tgargs[OWN_ARGS + i]);
		if (i < desc->natts)
			column->type = getBaseType(TupleDescAttr(desc, i)->atttypid);
		if (column->what == OUTBOX_EVENT_EVENT_ID)
			view->id_column = i;
		if (column->what == OUTBOX_EVENT_TOPIC)
			view->topic_column = i;
		if (desc->natts != columns || !type_fits(column->what, column->type))
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view \"%s\" does not have the columns that it was "
						"created with",
						RelationGetRelationName(data->tg_relation)),
				 errhint("Drop it, and create it by "
						 "outbox.create_view().")));
	}
	if (view->id_column < 0 || view->topic_column < 0)
		outbox_view_refuse_trigger();
	flinfo->fn_extra = view;
	return view;
}

/* The topic, from what the view's column has; NULL, which is refused, if it is
 * null. */
text *
outbox_view_topic(const OutboxView *view, const text *value)
{
	Size prefix = strlen(view->prefix);
	text *topic;

	/* one that is refused, or complete */
	if (value == NULL || VARSIZE_ANY_EXHDR(value) == 0 || prefix == 0)
		return outbox_event_topic(unconstify(text *, value));
	topic = palloc(VARHDRSZ + prefix + VARSIZE_ANY_EXHDR(value));
	SET_VARSIZE(topic, VARHDRSZ + prefix + VARSIZE_ANY_EXHDR(value));
	memcpy(VARDATA(topic), view->prefix, prefix);
	memcpy(VARDATA(topic) + prefix, VARDATA_ANY(value),
		   VARSIZE_ANY_EXHDR(value));
	return outbox_event_topic(topic);
}
