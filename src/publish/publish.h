/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  Events on their way from the outbox to the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PUBLISH_H
#define OUTBOX_PUBLISH_H

#include "publish/stream.h"
#include "store/transaction.h"

extern bool outbox_publish_poll(OutboxStream *stream);
extern OutboxTaskResult outbox_publish_page(OutboxStream *stream);
extern void outbox_publish_undo(OutboxStream *stream);
extern bool outbox_publish_drain(OutboxStream *stream, long grace_ms);

#endif /* OUTBOX_PUBLISH_H */
