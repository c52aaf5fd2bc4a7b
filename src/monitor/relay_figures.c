/*-------------------------------------------------------------------------
 *
 * relay_figures.c
 *	  What SQL can see of the figures that relays keep (figures.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/figures.h"
#include "shared/shmem.h"

PG_FUNCTION_INFO_V1(outbox_relay_figures);
PG_FUNCTION_INFO_V1(outbox_relay_histogram);
PG_FUNCTION_INFO_V1(outbox_topic_figures);

#define FIGURES_COLUMNS   28
#define HISTOGRAM_COLUMNS 2
#define TOPIC_COLUMNS     7

/* A row of results, filled from the left */
typedef struct Row
{
	int next;
	Datum values[FIGURES_COLUMNS];
	bool nulls[FIGURES_COLUMNS];
} Row;

static void
add_count(Row *row, uint64 count)
{
	row->values[row->next++] = Int64GetDatum((int64) count);
}

/* null, if it is not a number */
static void
add_double(Row *row, double value)
{
	row->nulls[row->next] = isnan(value);
	row->values[row->next++] = Float8GetDatum(value);
}

/* null, if it is 0 */
static void
add_time(Row *row, TimestampTz time)
{
	row->nulls[row->next] = (time == 0);
	row->values[row->next++] = TimestampTzGetDatum(time);
}

static void
add_histogram(Row *row, const OutboxHistogram *histogram)
{
	add_count(row, histogram->count);
	add_double(row, (double) histogram->sum_us / 1e6);
	add_double(row, outbox_histogram_quantile(histogram, 0.50) * 1000);
	add_double(row, outbox_histogram_quantile(histogram, 0.95) * 1000);
	add_double(row, outbox_histogram_quantile(histogram, 0.99) * 1000);
}

/* What the sink has, and what it has told, if it has: null before. Times in
 * ms */
static void
add_sink(Row *row, const OutboxFigures *figures)
{
	const OutboxSinkStatistics *sink = &figures->sink;
	int first;

	add_count(row, figures->queue_events);
	add_count(row, figures->queue_bytes);
	first = row->next;
	add_double(row, (double) sink->round_trip_us / 1000);
	add_double(row, (double) sink->round_trip_p99_us / 1000);
	add_double(row, (double) sink->throttle_ms);
	add_double(row, (double) sink->throttle_max_ms);
	if (figures->sink_at != 0)
		return;
	for (int i = first; i < row->next; i++)
		row->nulls[i] = true;
}

/* The figures of that relay, palloc'd; NULL if there are none. */
static OutboxFigures *
read_figures(FunctionCallInfo fcinfo)
{
	OutboxFigures *figures = palloc(sizeof(OutboxFigures));

	outbox_shmem_require();
	if (!outbox_figures_read(text_to_cstring(PG_GETARG_TEXT_PP(0)), figures))
		return NULL;
	return figures;
}

/* outbox.relay_figures(relay): all but topics and buckets; null if it has not
 * run since the server started */
Datum
outbox_relay_figures(PG_FUNCTION_ARGS)
{
	OutboxFigures *figures = read_figures(fcinfo);
	TupleDesc tupdesc;
	Row row = {0};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (figures == NULL)
		PG_RETURN_NULL();
	add_time(&row, figures->reset_at);
	add_double(&row, outbox_figures_rate(figures, GetCurrentTimestamp()));
	add_count(&row, figures->published);
	add_count(&row, figures->bytes);
	for (int i = 0; i < OUTBOX_FAILURES; i++)
		add_count(&row, figures->failures[i]);
	add_count(&row, figures->dead_letters);
	add_count(&row, figures->expired);
	add_histogram(&row, &figures->commit_to_ack);
	add_histogram(&row, &figures->sent_to_ack);
	add_sink(&row, figures);
	Assert(row.next == FIGURES_COLUMNS);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(tupdesc), row.values, row.nulls)));
}

/* outbox.relay_histogram(relay, what): how many took so many seconds or less */
Datum
outbox_relay_histogram(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	OutboxFigures *figures = read_figures(fcinfo);
	char *what = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const OutboxHistogram *histogram;
	uint64 count = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (figures == NULL)
		return (Datum) 0;
	if (strcmp(what, "commit") == 0)
		histogram = &figures->commit_to_ack;
	else if (strcmp(what, "sent") == 0)
		histogram = &figures->sent_to_ack;
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no histogram \"%s\"", what),
						errhint("It is commit or sent, until an event is "
								"acknowledged.")));
	for (int i = 0; i < OUTBOX_HISTOGRAM_BUCKETS; i++)
	{
		Row row = {0};

		count += histogram->buckets[i];
		add_double(&row, outbox_histogram_bound(i));
		add_count(&row, count);
		Assert(row.next == HISTOGRAM_COLUMNS);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values,
							 row.nulls);
	}
	return (Datum) 0;
}

/* outbox.topic_figures(relay): of each topic; that of all others has no name */
Datum
outbox_topic_figures(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	OutboxFigures *figures = read_figures(fcinfo);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; figures != NULL && i <= figures->topics; i++)
	{
		const OutboxTopicFigures *topic = &figures->topic[i];
		Row row = {0};

		if (i == 0 && topic->published == 0 && topic->failures == 0 &&
			topic->dead_letters == 0)
			continue;
		row.nulls[0] = (i == 0);
		row.values[row.next++] = CStringGetTextDatum(topic->name);
		add_count(&row, topic->published);
		add_count(&row, topic->bytes);
		add_count(&row, topic->failures);
		add_count(&row, topic->dead_letters);
		add_time(&row, topic->published_at);
		add_time(&row, topic->failed_at);
		Assert(row.next == TOPIC_COLUMNS);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values,
							 row.nulls);
	}
	return (Datum) 0;
}
