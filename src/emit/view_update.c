/*-------------------------------------------------------------------------
 *
 * view_update.c
 *	  Updates of rows of a view of events, which change nothing.
 *
 * ORMs update all columns of an object that they save again. What they have
 * inserted they may write again, also where the event has become something
 * else: the session's trace and the topic's rule add to it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "emit/topic_rules.h"
#include "emit/view_update.h"
#include "emit/xact.h"
#include "guc_trace.h"

/* A column that is updated */
typedef struct Update
{
	const OutboxViewColumn *column;
	Datum old;
	Datum new;
	bool old_null;
	bool new_null;
} Update;

/* The headers that the application has given in the column for them: without
 * those that have columns of their own, or that are added */
static Datum
given_headers(const OutboxView *view, Datum headers, bool is_null)
{
	static const char *const added[] = {OUTBOX_HEADER_TRACEPARENT,
										OUTBOX_HEADER_TRACESTATE,
										OUTBOX_HEADER_VALUE_SCHEMA};
	Datum *names = palloc((lengthof(added) + view->columns) * sizeof(Datum));
	int count = 0;

	if (is_null)
		headers = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	for (int i = 0; i < (int) lengthof(added); i++)
		names[count++] = CStringGetTextDatum(added[i]);
	for (int i = 0; i < view->columns; i++)
	{
		if (view->column[i].what == OUTBOX_VIEW_HEADER)
			names[count++] = CStringGetTextDatum(view->column[i].header);
	}
	return DirectFunctionCall2(
		jsonb_delete_array, headers,
		PointerGetDatum(
			construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT)));
}

/* Has an event that the application has emitted without it got this by the
 * rule of its topic? */
static bool
is_of_rule(const OutboxView *view, const TriggerData *data, int what,
		   const text *value)
{
	bool is_null;
	Datum topic = heap_getattr(data->tg_trigtuple, view->topic_column + 1,
							   RelationGetDescr(data->tg_relation), &is_null);
	const OutboxTopicRule *rule;
	const text *given;

	if (is_null)
		return false;
	outbox_xact_join(false);
	rule =
		outbox_topic_rule_of(outbox_view_topic(view, DatumGetTextPP(topic)));
	if (rule == NULL)
		return false;
	given = rule->attributes[what - OUTBOX_EVENT_TYPE];
	return given != NULL &&
		   VARSIZE_ANY_EXHDR(given) == VARSIZE_ANY_EXHDR(value) &&
		   memcmp(VARDATA_ANY(given), VARDATA_ANY(value),
				  VARSIZE_ANY_EXHDR(value)) == 0;
}

/* Is a value that differs from what the view shows what may have been inserted
 * all the same? */
static bool
may_be_as_inserted(const OutboxView *view, const TriggerData *data,
				   const Update *update)
{
	int what = update->column->what;
	const char *header;

	switch (what)
	{
		/* not as the application has written them */
		case OUTBOX_EVENT_EMITTED_AT:
		case OUTBOX_VIEW_TRACING:
			return true;
		case OUTBOX_EVENT_TYPE:
		case OUTBOX_EVENT_SOURCE:
		case OUTBOX_EVENT_CONTENT_TYPE:
			return update->new_null &&
				   is_of_rule(view, data, what, DatumGetTextPP(update->old));
		/* one that was over is not kept */
		case OUTBOX_DELAYED_DELIVER_AT:
			return update->old_null &&
				   DatumGetTimestampTz(update->new) <= GetCurrentTimestamp();
		case OUTBOX_VIEW_HEADER:
			header = update->column->header;
			return update->new_null &&
				   (strcmp(header, OUTBOX_HEADER_TRACEPARENT) == 0 ||
					strcmp(header, OUTBOX_HEADER_TRACESTATE) == 0);
		case OUTBOX_EVENT_HEADERS:
			return DatumGetBool(DirectFunctionCall2(
				jsonb_eq, given_headers(view, update->old, update->old_null),
				given_headers(view, update->new, update->new_null)));
		default:
			return false;
	}
}

/* A row is updated. Raises 0A000 if that would change it. */
HeapTuple
outbox_view_updated(const OutboxView *view, const TriggerData *data)
{
	TupleDesc desc = RelationGetDescr(data->tg_relation);

	for (int i = 0; i < view->columns; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Update update = {.column = &view->column[i]};

		update.old =
			heap_getattr(data->tg_trigtuple, i + 1, desc, &update.old_null);
		update.new =
			heap_getattr(data->tg_newtuple, i + 1, desc, &update.new_null);
		if (update.old_null == update.new_null &&
			(update.old_null ||
			 datum_image_eq(update.old, update.new, attribute->attbyval,
							attribute->attlen)))
			continue;
		if (may_be_as_inserted(view, data, &update))
			continue;
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change column \"%s\" of an event that has been "
					"emitted",
					NameStr(attribute->attname)),
			 errhint("Insert another event.")));
	}
	return data->tg_newtuple;
}
