/*-------------------------------------------------------------------------
 *
 * dead_messages.c
 *	  Messages that are not tried again: dead letters of a subscription. With a
 *	  dead_letter_topic, a copy of each is emitted in the transaction that makes
 *	  it one, like any other event, with headers that tell what has happened; a
 *	  relay publishes it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "emit/event_args.h"
#include "emit/uuid7.h"
#include "emit/xact.h"
#include "store/inbox_dead.h"
#include "subscribe/dead_messages.h"
#include "subscribe/incoming.h"
#include "subscribe/message_blocks.h"
#include "subscribe/message_log.h"

/* Emits a copy for the topic of dead letters. */
static void
emit_copy(const OutboxMessage *message, const OutboxInboxFailure *failure)
{
	const char *topic = outbox_subscriber.subscription->dead_letter_topic;
	OutboxInboxOwner owner = outbox_message_owner();
	pg_uuid_t event_id;
	bool named;
	OutboxEvent event = {
		.topic = cstring_to_text(topic),
		.key = outbox_incoming_key(message),
		.payload = message->payload,
		.headers = outbox_inbox_dead_headers(
			&owner, message, failure, CurrentMemoryContext, &event_id, &named),
		.emitted_at = GetCurrentTimestamp(),
		.expires_at = DT_NOEND,
	};

	if (!named)
		outbox_uuid7_generate(&event_id);
	event.event_id = &event_id;
	outbox_xact_join(false);
	outbox_event_emit_again(&event);
}

/* Makes a dead letter of a message, in the current transaction, by a user who
 * may, with SPI connected. */
void
outbox_dead_message(const OutboxMessage *message,
					const OutboxInboxFailure *failure, OutboxDeadFrom from)
{
	OutboxInboxOwner owner = outbox_message_owner();

	if (from == OUTBOX_DEAD_FROM_PARKED)
		outbox_inbox_dead_bury(&owner, message, failure);
	else
		outbox_inbox_dead_add(&owner, message, failure,
							  from != OUTBOX_DEAD_FROM_TOPIC);
	if (from != OUTBOX_DEAD_FROM_TOPIC &&
		outbox_subscriber.subscription->dead_letter_topic[0] != '\0')
		emit_copy(message, failure);
	outbox_message_log(message, OUTBOX_MESSAGE_LOG_DEAD, failure->error);
}
