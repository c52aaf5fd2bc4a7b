/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  The stream of events from the outbox to the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PUBLISH_H
#define OUTBOX_PUBLISH_H

#include "publish/window.h"
#include "shared/shmem.h"
#include "sink/sink.h"
#include "store/transaction.h"

/* What ends with the sink; see recovery.c */
typedef struct OutboxSinkLife
{
	bool ending;                          /* it publishes nothing any more */
	char given_up[OUTBOX_SINK_ERROR_MAX]; /* why, if by itself */
	TimestampTz ending_since;
	TimestampTz purged_at;
	TimestampTz expires_first; /* of the window's events */
	TimestampTz delivered_at;  /* the last acknowledgement */
	TimestampTz asked_at;      /* about topics; see stuck.c */
	bool stuck;                /* a topic is at fault that is not given back */
} OutboxSinkLife;

typedef struct OutboxStream
{
	OutboxDatabase *db;
	const char *relay;
	const char *database; /* its name */
	const OutboxSinkApi *api;
	OutboxSink *sink;     /* NULL: not configured, or to be opened again */
	OutboxWindow *window; /* as long as there is a configuration */
	uint64 read_upto;
	bool has_events; /* there have been events: the position may be written */
	bool has_more;   /* the last page was not the end */

	/* while brokers do not answer; see outage.c */
	TimestampTz outage_since;      /* 0 = they answer */
	TimestampTz back_at;           /* the last one was over */
	TimestampTz unreachable_since; /* the sink says so; not only silence */
	TimestampTz last_result_at;    /* or when something to answer came */
	char complaint[OUTBOX_SINK_ERROR_MAX]; /* of the sink, since then */
	bool complaint_untold;                 /* in the log */
	OutboxTrouble trouble;                 /* what it tells of */

	/* when events fail; see recovery.c */
	OutboxSinkLife life;
	TimestampTz open_at; /* when to open the next sink */
	int login_failures;  /* one after another */
	uint64 *done_ids;    /* ids beyond read_upto that are done */
	int done_count;
	int done_next;
	int batch_bytes;           /* of the sink: 0 = no limit of ours */
	uint64 small_batches_upto; /* as long as the position is not there */
	TimestampTz small_batches_until;
} OutboxStream;

extern uint64 outbox_publish_position(const OutboxStream *stream);
extern void outbox_publish_show_position(OutboxStream *stream);
extern bool outbox_publish_is_pending(const OutboxStream *stream);
extern bool outbox_publish_poll(OutboxStream *stream);
extern OutboxTaskResult outbox_publish_page(OutboxStream *stream);
extern void outbox_publish_undo(OutboxStream *stream);
extern bool outbox_publish_drain(OutboxStream *stream, long grace_ms);
extern void outbox_publish_open(OutboxStream *stream, OutboxSink *sink,
								const OutboxSinkConfig *config);
extern void outbox_publish_close(OutboxStream *stream);

#endif /* OUTBOX_PUBLISH_H */
