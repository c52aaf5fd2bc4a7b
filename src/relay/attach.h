/*-------------------------------------------------------------------------
 *
 * attach.h
 *	  How a relay finds its outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ATTACH_H
#define OUTBOX_ATTACH_H

#include "outbox.h"

#include "publish/stream.h"
#include "shared/launch.h"

extern OutboxLaunchState outbox_attach(OutboxStream *stream,
									   const OutboxRelayArgs *args);

#endif /* OUTBOX_ATTACH_H */
