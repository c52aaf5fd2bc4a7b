/*-------------------------------------------------------------------------
 *
 * health.c
 *	  What outbox.health() has to know from shared memory: the launcher, and
 *	  what is wrong with a relay whether it runs or not.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "guc_health.h"
#include "shared/relays.h"
#include "shared/shortage.h"
#include "shared/shmem.h"

PG_FUNCTION_INFO_V1(outbox_launcher_status);
PG_FUNCTION_INFO_V1(outbox_relay_troubles);
PG_FUNCTION_INFO_V1(outbox_health_thresholds);

#define LAUNCHER_COLUMNS 10
#define TROUBLE_COLUMNS  6

/* between the beginning of a threshold's name and its end */
#define THRESHOLD_PREFIX "outbox.health_"
#define THRESHOLD_SUFFIX "_warning"

static void
set_time(Datum *values, bool *nulls, int column, TimestampTz time)
{
	nulls[column] = (time == 0);
	values[column] = TimestampTzGetDatum(time);
}

/* An empty text is null. */
static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = (text[0] == '\0');
	values[column] = CStringGetTextDatum(text);
}

static Datum
make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/* The process that keeps the relays of this database away, or 0. The caller
 * holds the lock. */
static int
find_keeper(bool *is_restore)
{
	for (int i = 0; i < outbox_shmem->inflight_slots; i++)
	{
		const OutboxKeptAway *kept = &outbox_shmem->kept_away[i];

		*is_restore = (kept->for_restore == MyDatabaseId);
		if (*is_restore || kept->for_ddl == MyDatabaseId)
			return ProcGlobal->allProcs[i].pid;
	}
	return 0;
}

/*
 * outbox.launcher_status(): a row in any case, also without the library being
 * preloaded, and while the launcher does not run.
 */
Datum
outbox_launcher_status(PG_FUNCTION_ARGS)
{
	Datum values[LAUNCHER_COLUMNS] = {0};
	bool nulls[LAUNCHER_COLUMNS] = {0};
	bool is_restore = false;
	int keeper;

	values[0] = CStringGetTextDatum(OUTBOX_VERSION);
	values[1] = BoolGetDatum(outbox_shmem != NULL);
	if (outbox_shmem == NULL)
	{
		memset(&nulls[2], true, LAUNCHER_COLUMNS - 2);
		return make_row(fcinfo, values, nulls);
	}
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	nulls[2] = (outbox_shmem->launcher_pid == 0);
	values[2] = Int32GetDatum(outbox_shmem->launcher_pid);
	set_time(values, nulls, 3, outbox_shmem->launcher_since);
	values[4] = Int32GetDatum(outbox_shmem->crashes);
	set_time(values, nulls, 5, outbox_shmem->relays_start_at);
	set_text(
		values, nulls, 6,
		outbox_shortage_setting(OUTBOX_KIND_RELAY,
								outbox_shmem->shortage[OUTBOX_KIND_RELAY]));
	set_time(values, nulls, 7, outbox_shmem->shortage_at[OUTBOX_KIND_RELAY]);
	keeper = find_keeper(&is_restore);
	LWLockRelease(outbox_shmem->lock);
	nulls[8] = (keeper == 0);
	values[8] = Int32GetDatum(keeper);
	nulls[9] = (keeper == 0);
	values[9] = BoolGetDatum(is_restore);
	return make_row(fcinfo, values, nulls);
}

/*
 * outbox.relay_troubles(relay): what is wrong with a relay of this database,
 * as far as its state does not tell it.
 */
Datum
outbox_relay_troubles(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum values[TROUBLE_COLUMNS] = {0};
	bool nulls[TROUBLE_COLUMNS] = {0};
	OutboxRelayStatus status = {0};
	uint64 unwritten_since = 0;
	OutboxDatabase *db;
	OutboxRelaySlot *slot = NULL;

	outbox_shmem_require();
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	db = outbox_shmem_find(MyDatabaseId);
	if (db != NULL && name[0] != '\0')
		slot = outbox_relays_find(db, name);
	if (slot != NULL)
	{
		status = slot->status;
		unwritten_since = pg_atomic_read_u64(&slot->unwritten_since);
	}
	LWLockRelease(outbox_shmem->lock);

	set_time(values, nulls, 0, status.pid != 0 ? status.started_at : 0);
	values[1] = Int32GetDatum(status.early_ends);
	set_time(values, nulls, 2, status.early_ends > 0 ? status.early_since : 0);
	nulls[3] = (status.refused_at == 0);
	values[3] = CStringGetTextDatum(status.refused);
	set_time(values, nulls, 4, status.refused_at);
	set_time(values, nulls, 5, (TimestampTz) unwritten_since);
	return make_row(fcinfo, values, nulls);
}

/* Fills in one of the two numbers, if there is one; its setting as it is
 * shown. */
static const char *
set_threshold(Datum *value, bool *is_null, int threshold, const char *name)
{
	*value = Float8GetDatum(threshold);
	*is_null = (threshold == OUTBOX_HEALTH_NEVER);
	return *is_null ? "never" : GetConfigOptionByName(name, NULL, false);
}

/*
 * outbox.health_thresholds(OUT name text, OUT warning double precision, OUT
 * critical double precision, OUT shown text) RETURNS SETOF record. pg_settings
 * takes longer than all the rest of outbox.health().
 */
Datum
outbox_health_thresholds(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const OutboxHealthThreshold *threshold;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; (threshold = outbox_guc_health_threshold(i)) != NULL;
		 i++)
	{
		const char *name = threshold->warning_name + strlen(THRESHOLD_PREFIX);
		const char *warning;
		const char *critical;
		Datum values[4];
		bool nulls[4] = {0};

		values[0] = PointerGetDatum(cstring_to_text_with_len(
			name, (int) (strlen(name) - strlen(THRESHOLD_SUFFIX))));
		warning = set_threshold(&values[1], &nulls[1], threshold->warning,
								threshold->warning_name);
		critical = set_threshold(&values[2], &nulls[2], threshold->critical,
								 threshold->critical_name);
		values[3] =
			CStringGetTextDatum(psprintf("%s / %s", warning, critical));
		tuplestore_putvalues(result->setResult, result->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
