/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  The stream of events from the outbox to the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PUBLISH_H
#define OUTBOX_PUBLISH_H

#include "shmem.h"
#include "sink.h"
#include "store.h"
#include "window.h"

/* how long answers are waited for before the process ends */
#define OUTBOX_PUBLISH_STOP_GRACE_MS 1000

typedef struct OutboxStream
{
	OutboxDatabase *db;
	const char *database; /* its name */
	const OutboxSinkApi *api;
	OutboxSink *sink;     /* NULL: settings are missing or wrong */
	OutboxWindow *window; /* as long as there is a sink */
	uint64 read_upto;
	bool more;                     /* the last page was not the end */
	TimestampTz busy_until;        /* tables are locked by others */
	TimestampTz unavailable_since; /* 0 = brokers answer */
	TimestampTz answered_at;       /* or when something to answer came */
	char complaint[OUTBOX_SINK_ERROR_MAX]; /* of the sink, since then */
} OutboxStream;

extern uint64 outbox_publish_position(const OutboxStream *stream);
extern bool outbox_publish_poll(OutboxStream *stream);
extern OutboxStoreStatus outbox_publish_page(OutboxStream *stream,
											 bool *progress);
extern long outbox_publish_patience_ms(const OutboxStream *stream);
extern bool outbox_publish_drain(OutboxStream *stream, long grace_ms);
extern void outbox_publish_open(OutboxStream *stream, OutboxSink *sink,
								const OutboxSinkConfig *config);
extern void outbox_publish_close(OutboxStream *stream);

#endif /* OUTBOX_PUBLISH_H */
