/*-------------------------------------------------------------------------
 *
 * current_horizon.c
 *	  The horizon, for SQL: where a new relay begins.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "shared/horizon.h"

PG_FUNCTION_INFO_V1(outbox_horizon);

/* The last id that has been taken from the sequence; 0 = none */
static uint64
last_id(void)
{
	LOCAL_FCINFO(call, 1);
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, false);
	Datum result;

	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0].value =
		ObjectIdGetDatum(get_relname_relid(OUTBOX_SEQUENCE, schema));
	call->args[0].isnull = false;
	result = pg_sequence_last_value(call);
	return call->isnull ? 0 : (uint64) DatumGetInt64(result);
}

/*
 * outbox.horizon(): the horizon, also before any relay has run since the
 * server started. Whoever is inside of his commit holds it back.
 */
Datum
outbox_horizon(PG_FUNCTION_ARGS)
{
	OutboxDatabase *db;
	XLogRecPtr commit_lsn;

	(void) fcinfo;
	outbox_shmem_require();
	db = outbox_shmem_my_database();
	outbox_horizon_raise(db, last_id());
	PG_RETURN_INT64((int64) outbox_horizon_read(db, &commit_lsn));
}
