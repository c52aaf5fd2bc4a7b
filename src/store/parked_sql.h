/*-------------------------------------------------------------------------
 *
 * parked_sql.h
 *	  What statements on outbox.parked have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARKED_SQL_H
#define OUTBOX_PARKED_SQL_H

/*
 * Of the rows of relay $1, those that a condition tells which stands between
 * these two, but for those that others have locked. They are locked first, by
 * a query in ARRAY(), which runs once. As IN, it may be run again for each
 * row: a plan is made when next to nothing is parked, and lasts.
 */
#define OUTBOX_WHERE_FREE            \
	" WHERE relay = $1 AND id = ANY" \
	" (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1 AND "
#define OUTBOX_SKIP_LOCKED " FOR UPDATE SKIP LOCKED))"

/* What each failure writes */
#define OUTBOX_SET_FAILED_NOW                              \
	" first_failed_at = COALESCE(first_failed_at, now())," \
	" last_failed_at = now()"

#endif /* OUTBOX_PARKED_SQL_H */
