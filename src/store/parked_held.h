/*-------------------------------------------------------------------------
 *
 * parked_held.h
 *	  Rows of outbox.parked that somebody else has locked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARKED_HELD_H
#define OUTBOX_PARKED_HELD_H

#include "datatype/timestamp.h"

#include "store/statement.h"

/* What has happened at the brokers, while its row could not be changed */
typedef enum OutboxHeldKind
{
	OUTBOX_HELD_DELIVERED, /* a parked event has been published */
	OUTBOX_HELD_ANNOUNCED, /* a copy of a dead letter has been */
} OutboxHeldKind;

#define OUTBOX_HELD_KINDS 2

extern bool outbox_held_by_others(const OutboxEvent *event);
extern OutboxStoreStatus outbox_held_note(OutboxHeldKind kind,
										  const char *relay, const uint64 *ids,
										  int count, uint64 position);
extern OutboxStoreStatus outbox_held_note_again(OutboxHeldKind kind,
												const char *relay,
												uint64 position);
extern Datum outbox_held_ids(OutboxHeldKind kind);
extern int outbox_held_room(OutboxHeldKind kind);
extern TimestampTz outbox_held_next(OutboxHeldKind kind);

#endif /* OUTBOX_PARKED_HELD_H */
