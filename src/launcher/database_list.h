/*-------------------------------------------------------------------------
 *
 * database_list.h
 *	  The databases, as the launcher knows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DATABASE_LIST_H
#define OUTBOX_DATABASE_LIST_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"

#include "shared/shmem.h"

/* One relay of a database, as the launcher knows it; or a process that is to
 * find out which there are */
typedef struct OutboxLauncherRelay
{
	bool wanted;                    /* and there is no process */
	BackgroundWorkerHandle *handle; /* NULL = we have started none */
	int launch;                     /* index, as long as there is a handle */
	int failures;                   /* short lives, one after another */
	TimestampTz started_at;
	TimestampTz not_before;
	TimestampTz idle_until; /* 0 = it does not rest */
} OutboxLauncherRelay;

/* One database, as the launcher knows it */
typedef struct OutboxLauncherDatabase
{
	Oid dbid;
	NameData name;
	bool listed; /* found in pg_database this time */
	bool connectable;
	bool folded_reported;      /* outbox.databases almost names it */
	bool absent;               /* the extension is not there */
	bool known;                /* it is there */
	bool may_start;            /* nothing is in the way of what is wanted */
	OutboxLauncherRelay scout; /* a process that looks which relays there are,
								* and has not become one of them yet */
	OutboxLauncherRelay relays[OUTBOX_RELAYS];
} OutboxLauncherDatabase;

extern List *outbox_candidates;

extern bool outbox_database_list_any(const OutboxLauncherDatabase *candidate);

extern void outbox_database_list_list(void);

#endif /* OUTBOX_DATABASE_LIST_H */
