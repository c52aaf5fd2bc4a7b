/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  The stream: what the relay knows of the events that it publishes in the
 *	  order of their ids.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STREAM_H
#define OUTBOX_STREAM_H

#include "publish/window.h"
#include "shared/outage.h"
#include "sink/sender.h"

/* see README.md */
typedef enum OutboxStreamState
{
	OUTBOX_STREAM_CLOSED = 0, /* next: OPEN */
	OUTBOX_STREAM_OPEN,       /* next: ENDING, CLOSED */
	OUTBOX_STREAM_ENDING,     /* next: PARKING, CLOSED */
	OUTBOX_STREAM_PARKING,    /* next: CLOSED */
} OutboxStreamState;

/* How large batches may be, after some were refused; see recovery.c */
typedef struct OutboxBatchLimit
{
	int bytes;   /* of the sink: 0 = no limit of ours */
	int next;    /* of the next one, if it must be smaller; else 0 */
	uint64 upto; /* as long as the position is not there */
	TimestampTz until;
} OutboxBatchLimit;

/* Events beyond read_upto that are published or parked, in order */
typedef struct OutboxDoneIds
{
	uint64 *ids;
	int count;
	int next; /* the first one that has not been read again */
} OutboxDoneIds;

/* What ends with the sink, as the window does */
typedef struct OutboxSinkLife
{
	TimestampTz expires_first; /* of the window's events */
	TimestampTz delivered_at;  /* the last acknowledgement */
	TimestampTz asked_at;      /* about topics; see stuck.c */
	bool stuck;                /* a topic is at fault that is not given back */
	uint32 blocks; /* as they were when topics were looked at, ... */
	TimestampTz paused_look_at; /* ... and when those that are paused are */
} OutboxSinkLife;

typedef struct OutboxStream
{
	OutboxStreamState state;
	OutboxSender sender;
	OutboxWindow *window; /* NULL = CLOSED */
	OutboxSinkLife life;
	TimestampTz open_at; /* when to open again, while CLOSED */
	uint64 read_upto;    /* each id up to it has been read, or is of none */
	uint64 own_upto;     /* the last of these that this relay publishes */
	bool has_events; /* there have been events: the position may be written */
	bool has_more;   /* the last page was not the end */
	OutboxDoneIds done;
	OutboxBatchLimit limit;
	OutboxOutage outage;
} OutboxStream;

extern uint64 outbox_stream_position(const OutboxStream *stream);
extern void outbox_stream_show_position(OutboxStream *stream);
extern bool outbox_stream_is_pending(const OutboxStream *stream);
extern void outbox_stream_open(OutboxStream *stream,
							   const OutboxSender *sender,
							   const OutboxSinkConfig *config);
extern void outbox_stream_end(OutboxStream *stream);
extern void outbox_stream_begin_parking(OutboxStream *stream);
extern void outbox_stream_close(OutboxStream *stream);
extern void outbox_stream_forget_brokers(OutboxStream *stream);
extern int outbox_stream_done_beyond(const OutboxStream *stream, uint64 **ids);
extern void outbox_stream_skip(OutboxStream *stream, uint64 id);
extern bool outbox_stream_is_done(OutboxStream *stream, uint64 id);

#endif /* OUTBOX_STREAM_H */
