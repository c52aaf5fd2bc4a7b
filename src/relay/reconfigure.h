/*-------------------------------------------------------------------------
 *
 * reconfigure.h
 *	  New settings for the stream, while it runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RECONFIGURE_H
#define OUTBOX_RECONFIGURE_H

#include "publish/stream.h"

extern void outbox_reconfigure(OutboxStream *stream);
extern const OutboxSinkConfig *outbox_reconfigure_running(void);

#endif /* OUTBOX_RECONFIGURE_H */
