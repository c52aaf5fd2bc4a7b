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

/* One relay or subscriber of a database, as the launcher knows it; or a
 * process that is to find out which there are */
typedef struct OutboxLauncherProcess
{
	bool wanted;                    /* and there is no process */
	bool ending;                    /* we have asked it to end */
	BackgroundWorkerHandle *handle; /* NULL = we have started none */
	int launch;                     /* index, as long as there is a handle */
	int failures;                   /* short lives, one after another */
	TimestampTz started_at;
	TimestampTz not_before;
	TimestampTz idle_until; /* 0 = it does not rest */
} OutboxLauncherProcess;

/* One database, as the launcher knows it */
typedef struct OutboxLauncherDatabase
{
	Oid dbid;
	NameData name;
	bool listed; /* found in pg_database this time */
	bool connectable;
	bool folded_reported;        /* outbox.databases almost names it */
	bool absent;                 /* the extension is not there */
	bool known;                  /* it is there */
	bool may_start;              /* nothing is in the way of what is wanted */
	OutboxLauncherProcess scout; /* it looks which relays there are, and has
								  * not become one of them yet */
	OutboxLauncherProcess processes[OUTBOX_PROCESSES];
} OutboxLauncherDatabase;

extern List *outbox_candidates;

extern bool
outbox_database_list_any_relay(const OutboxLauncherDatabase *candidate);

extern void outbox_database_list_list(void);

#endif /* OUTBOX_DATABASE_LIST_H */
