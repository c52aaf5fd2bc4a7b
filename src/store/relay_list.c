/*-------------------------------------------------------------------------
 *
 * relay_list.c
 *	  Reads all of outbox.relay, with the positions: what relays.c tells
 *	  others.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "store/position.h"
#include "store/relay_list.h"
#include "store/statement.h"

/* Reads the list, in a transaction of its own. */
OutboxStoreStatus
outbox_relay_list_read(OutboxRelayRows *list)
{
	static OutboxStatement statement = {
		.sql = "SELECT r.name, r.number::bigint,"
			   "  GREATEST(r.first_position,"
			   "   (SELECT max(p.position) FROM outbox.position p"
			   "    WHERE p.relay = r.name)),"
			   "  s.last_value - (NOT s.is_called)::int, r.created_at"
			   " FROM outbox.relay r, outbox.event_id_seq s"
			   " ORDER BY r.number",
		.read_only = true};
	OutboxStoreStatus status = outbox_store_begin("outbox: reading relays");
	uint64 rows;

	if (status != OUTBOX_STORE_OK)
		return status;
	memset(list, 0, sizeof(*list));
	status = outbox_position_lock();
	if (status == OUTBOX_STORE_OK)
	{
		rows = outbox_store_execute(&statement, NULL, NULL);
		/* their numbers are different, and in bounds: checked by the table */
		Assert(rows <= OUTBOX_RELAYS);
		list->count = (int) Min(rows, OUTBOX_RELAYS);
		for (int i = 0; i < list->count; i++)
		{
			OutboxRelayRow *row = &list->rows[i];

			strlcpy(row->name, outbox_store_string(i, 1), sizeof(row->name));
			row->number = (int) outbox_store_result(i, 2);
			row->position = (uint64) outbox_store_result(i, 3);
			/* read as the integer that it is */
			row->created_at = (TimestampTz) outbox_store_result(i, 5);
			list->last_id =
				Max(list->last_id, (uint64) outbox_store_result(i, 4));
		}
	}
	outbox_store_end();
	return status;
}
