/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  The source, and whether brokers answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CONNECTION_H
#define OUTBOX_CONNECTION_H

#include "shared/outage.h"
#include "source/source.h"

typedef struct OutboxConnection
{
	const OutboxSourceApi *api;
	OutboxSource *source; /* NULL = there is none */
	OutboxOutage outage;
} OutboxConnection;

/* the one of this process; for reading, but for the outage */
extern OutboxConnection outbox_connection;

extern void outbox_connection_init(const OutboxSourceApi *api);
extern bool outbox_connection_reconfigure(void);
extern bool outbox_connection_reopen(void);
extern void outbox_connection_close(void);
extern void outbox_connection_works(void);
extern bool outbox_connection_poll(OutboxSourceEvent *event);
extern void outbox_connection_news(const OutboxSourceEvent *event);
extern void outbox_connection_silent(void);
extern void outbox_connection_check(void);
extern long outbox_connection_timeout_ms(void);

#endif /* OUTBOX_CONNECTION_H */
