/*-------------------------------------------------------------------------
 *
 * shortage.c
 *	  What there is too little of for one more relay, or subscriber; and why
 *	  processes that should run do not, if that is no affair of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "shared/shortage.h"

/* Notes what is missing for one more of them. Returns whether that is new. */
bool
outbox_shortage_note(OutboxProcessKind kind, OutboxShortage shortage)
{
	if (outbox_shmem->shortage[kind] == shortage)
		return false;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->shortage[kind] = shortage;
	outbox_shmem->shortage_at[kind] = GetCurrentTimestamp();
	LWLockRelease(outbox_shmem->lock);
	return true;
}

/* The setting that is too low then; "" = none */
const char *
outbox_shortage_setting(OutboxProcessKind kind, OutboxShortage shortage)
{
	switch (shortage)
	{
		case OUTBOX_SHORTAGE_WORKERS:
			return "max_worker_processes";
		case OUTBOX_SHORTAGE_PLACES:
			return kind == OUTBOX_KIND_RELAY ? "outbox.max_relays"
											 : "outbox.max_subscribers";
		case OUTBOX_SHORTAGE_NONE:
			break;
	}
	return "";
}

/* What there is too little of, as a sentence, palloc'd; NULL = nothing */
static char *
explain(OutboxProcessKind kind, OutboxShortage shortage)
{
	const char *setting = outbox_shortage_setting(kind, shortage);
	bool relay = (kind == OUTBOX_KIND_RELAY);

	switch (shortage)
	{
		case OUTBOX_SHORTAGE_WORKERS:
			return psprintf("no background worker is free for an outbox %s: "
							"raise max_worker_processes and restart the "
							"server",
							relay ? "relay" : "subscriber");
		case OUTBOX_SHORTAGE_PLACES:
			return psprintf("%d outbox %s run, and %s allows for no more: "
							"raise it and restart the server",
							relay ? outbox_max_relays : outbox_max_subscribers,
							relay ? "relays" : "subscribers", setting);
		case OUTBOX_SHORTAGE_NONE:
			break;
	}
	return NULL;
}

/*
 * Why a database's relays, or its subscribers, do not run, palloc'd, if that
 * is no affair of their own; else NULL. since becomes when that was found out.
 */
char *
outbox_shortage_why_none(OutboxProcessKind kind, const char *database,
						 TimestampTz *since)
{
	TimestampTz start_at;
	TimestampTz shortage_at;
	OutboxShortage shortage;
	bool folded;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	start_at = outbox_shmem->relays_start_at;
	shortage = outbox_shmem->shortage[kind];
	shortage_at = outbox_shmem->shortage_at[kind];
	LWLockRelease(outbox_shmem->lock);

	*since = GetCurrentTimestamp();
	if (!outbox_enabled)
		return NULL;
	if (!outbox_guc_database_allowed(database, &folded))
		return folded ? psprintf("outbox.databases does not name this "
								 "database: a name without double quotes is "
								 "folded to lower case; write '\"%s\"'",
								 database)
					  : NULL;
	if (start_at > *since)
		return psprintf("the server has crashed %d times in a row: %s start "
						"at %s",
						outbox_shmem->crashes,
						kind == OUTBOX_KIND_RELAY ? "relays" : "subscribers",
						timestamptz_to_str(start_at));
	*since = shortage_at;
	return explain(kind, shortage);
}
