/*-------------------------------------------------------------------------
 *
 * message.h
 *	  What a module says, as others may see it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_MESSAGE_H
#define OUTBOX_MESSAGE_H

#include "sink/sink.h"

extern const char *outbox_message_harmless(const OutboxProperties *properties,
										   const char *message, char *buffer);
extern void outbox_message_make_readable(char *message);

#endif /* OUTBOX_MESSAGE_H */
