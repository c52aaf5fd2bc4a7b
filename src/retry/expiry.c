/*-------------------------------------------------------------------------
 *
 * expiry.c
 *	  Events that expire before they are published become dead letters, of
 *	  class expired: those of the stream when their turn comes
 *	  (parked_writer.c), those that are parked at their time, in a transaction
 *	  of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "retry/blocked_keys.h"
#include "retry/dead_letter_copies.h"
#include "retry/expiry.h"
#include "shared/figures.h"
#include "shared/times.h"
#include "store/dead_letters.h"

/* when the first of the parked events expires; 0 = look */
static TimestampTz next = 0;

/* Events may have been parked: it is not known any more when one expires. */
void
outbox_expiry_check(void)
{
	next = 0;
}

/* An event that expires then has been parked. */
void
outbox_expiry_note(TimestampTz expires_at)
{
	next = Min(next, expires_at);
}

/* When outbox_expiry_to_dead_letters() has something to do */
TimestampTz
outbox_expiry_next(void)
{
	return next;
}

/* Makes dead letters of parked events whose time has passed. */
OutboxStoreStatus
outbox_expiry_to_dead_letters(const char *relay)
{
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status;
	uint64 made;

	status = outbox_dead_letters_from_expired(relay, now, &made, &next);
	if (status != OUTBOX_STORE_OK)
		return status;
	if (next == 0)
		next = DT_NOEND;
	else if (next <= now)
		next = TimestampTzPlusMilliseconds(now, OUTBOX_PARKED_ROWS_RETRY_MS);
	if (made > 0)
	{
		outbox_figures_dead(NULL, made, true);
		outbox_blocked_keys_reload();
		outbox_dead_letter_copies_added();
	}
	return OUTBOX_STORE_OK;
}
