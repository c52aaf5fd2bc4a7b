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

extern void outbox_attach_report_incompatible(const char *version);
extern OutboxLaunchState outbox_attach(OutboxStream *stream);

#endif /* OUTBOX_ATTACH_H */
