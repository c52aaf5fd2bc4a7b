/*-------------------------------------------------------------------------
 *
 * times.h
 *	  Times that several files go by. One that has a meaning in one file only
 *	  is defined there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TIMES_H
#define OUTBOX_TIMES_H

/* how soon tables that others have locked are tried again */
#define OUTBOX_TABLES_RETRY_MS      50

/* the same for rows that others have locked: of delayed events or of replays,
 * whose order is of the essence; and of parked ones, which have been late */
#define OUTBOX_DUE_ROWS_RETRY_MS    200
#define OUTBOX_PARKED_ROWS_RETRY_MS 1000

/* how often launcher and relays look whether there is something to do, though
 * nobody has told them */
#define OUTBOX_SAFETY_TICK_MS       60000

#endif /* OUTBOX_TIMES_H */
