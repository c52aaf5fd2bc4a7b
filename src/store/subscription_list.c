/*-------------------------------------------------------------------------
 *
 * subscription_list.c
 *	  Reads all of outbox.subscription: what subscribers.c tells others.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "store/statement.h"
#include "store/subscription_list.h"

static void
take(uint64 rows, void *arg)
{
	OutboxSubscriptionRows *list = arg;

	/* their numbers are different, and in bounds: checked by the table */
	list->count = (int) Min(rows, OUTBOX_SUBSCRIBERS);
	for (int i = 0; i < list->count; i++)
	{
		OutboxSubscriptionRow *row = &list->rows[i];

		strlcpy(row->name, outbox_store_string(i, 1), sizeof(row->name));
		row->number = (int) outbox_store_result(i, 2);
		row->workers = (int) outbox_store_result(i, 3);
		/* read as the integer that it is */
		row->created_at = (TimestampTz) outbox_store_result(i, 4);
	}
}

/* Reads the list, in a transaction of its own. */
OutboxStoreStatus
outbox_subscription_list_read(OutboxSubscriptionRows *list)
{
	static OutboxStatement statement = {
		.sql = "SELECT name, number::bigint, workers::bigint, created_at"
			   " FROM outbox.subscription ORDER BY number",
		.table = OUTBOX_SUBSCRIPTIONS,
		.table_lock = AccessShareLock,
		.read_only = true};

	memset(list, 0, sizeof(*list));
	return outbox_store_query("outbox: reading subscriptions", &statement,
							  NULL, take, list);
}
