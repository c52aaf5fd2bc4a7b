/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  Events on their way from the store to the sink.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PUBLISH_H
#define OUTBOX_PUBLISH_H

#include "publish/stream.h"
#include "store/transaction.h"

extern OutboxTaskResult outbox_publish_page(OutboxStream *stream);
extern void outbox_publish_undo(OutboxStream *stream);

#endif /* OUTBOX_PUBLISH_H */
