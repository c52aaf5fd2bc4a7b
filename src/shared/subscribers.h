/*-------------------------------------------------------------------------
 *
 * subscribers.h
 *	  The processes of a database's subscriptions, as everybody else knows
 *	  them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBERS_H
#define OUTBOX_SUBSCRIBERS_H

#include "shared/shmem.h"

/* A row of outbox.subscription */
typedef struct OutboxSubscriptionRow
{
	char name[NAMEDATALEN];
	int number;
	int workers;
	TimestampTz created_at;
} OutboxSubscriptionRow;

/* All of them, in the order of their numbers */
typedef struct OutboxSubscriptionRows
{
	int count;
	OutboxSubscriptionRow rows[OUTBOX_SUBSCRIBERS];
} OutboxSubscriptionRows;

/* the caller holds outbox_shmem->lock */
extern bool outbox_subscribers_any(const OutboxDatabase *db);
extern bool outbox_subscribers_are_known(OutboxDatabase *db);
extern bool outbox_subscribers_end(OutboxDatabase *db);

/* without it */
extern void outbox_subscribers_wake(OutboxDatabase *db);
extern void outbox_subscribers_left(OutboxDatabase *db);
extern void outbox_subscribers_store(OutboxDatabase *db,
									 const OutboxSubscriptionRows *list,
									 uint32 changes);

#endif /* OUTBOX_SUBSCRIBERS_H */
