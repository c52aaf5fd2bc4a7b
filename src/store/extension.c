/*-------------------------------------------------------------------------
 *
 * extension.c
 *	  Which extension is there.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "store/extension.h"
#include "store/statement.h"

/*
 * The version of the extension, if it is still the outbox that was opened. It
 * locks nothing of ours: another version may have other tables.
 */
OutboxStoreStatus
outbox_store_version(char *version, int size)
{
	static OutboxStatement statement = {
		.sql = "SELECT extversion FROM pg_catalog.pg_extension"
			   " WHERE extname = '" OUTBOX_EXTENSION "'",
		.read_only = true};
	OutboxStoreStatus status = OUTBOX_STORE_ABSENT;

	outbox_store_begin_unlocked("outbox: looking for the extension");
	if (outbox_store_execute(&statement, NULL, NULL) == 1 &&
		outbox_store_is_same())
	{
		strlcpy(version, outbox_store_string(0, 1), size);
		status = OUTBOX_STORE_OK;
	}
	outbox_store_end();
	return status;
}
