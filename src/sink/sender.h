/*-------------------------------------------------------------------------
 *
 * sender.h
 *	  The life of a sink, as its users know it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SENDER_H
#define OUTBOX_SENDER_H

#include "datatype/timestamp.h"

#include "sink/sink.h"

/* after so long without an answer, brokers are asked about the topic; ... */
#define OUTBOX_SENDER_STUCK_MS  4000
/* ... after so long, the event is taken back though nothing seems wrong */
#define OUTBOX_SENDER_SILENT_MS 8000

/* no batch has more events */
#define OUTBOX_SENDER_BATCH_MAX 4096

/* how long events are asked back from a sink that ends */
#define OUTBOX_SENDER_ENDING_MS 10000

/* see sender.c */
typedef enum OutboxSenderState
{
	OUTBOX_SENDER_CLOSED = 0, /* next: OPEN */
	OUTBOX_SENDER_OPEN,       /* next: ENDING, CLOSED */
	OUTBOX_SENDER_ENDING,     /* next: CLOSED */
} OutboxSenderState;

/* Read by others, but written by sender.c only */
typedef struct OutboxSender
{
	const OutboxSinkApi *api;
	const char *label; /* what it sends, for messages */
	OutboxSenderState state;
	OutboxSink *sink; /* NULL = CLOSED */
	int in_flight;    /* events that the sink owes an answer for */
	uint64 first_tag; /* of the batch under way, for who has batches */
	uint64 next_tag;  /* all that are in flight have tags between these */
	uint8 *tags;      /* bits of those that are in flight */
	uint32 tags_mask;
	int questions; /* about topics, at most so many without an answer */
	bool calling;  /* the module, just now */
	TimestampTz ending_since;
	TimestampTz purged_at;
	int prefix_bytes;                     /* of topic_prefix in its settings */
	char topic[OUTBOX_TOPIC_MAX + 1];     /* the last name, with the prefix */
	char given_up[OUTBOX_SINK_ERROR_MAX]; /* why it ends, if by itself */
	const OutboxProperties *properties;   /* of the configuration */
	char message[OUTBOX_SINK_ERROR_MAX];  /* without the secrets in them */
} OutboxSender;

extern void outbox_sender_init(OutboxSender *sender, const OutboxSinkApi *api,
							   const char *label);
extern bool outbox_sender_try_open(OutboxSender *sender,
								   const OutboxSinkConfig *config,
								   char *error);
extern void outbox_sender_open(OutboxSender *sender,
							   const OutboxSinkConfig *config);
extern void outbox_sender_begin_batch(OutboxSender *sender,
									  const OutboxSinkConfig *config);
extern OutboxSinkAnswer outbox_sender_hand_over(OutboxSender *sender,
												const OutboxRecord *record,
												OutboxFailure *failure,
												char *error);
extern bool outbox_sender_poll(OutboxSender *sender, OutboxSinkEvent *event);
extern void outbox_sender_ask_topic(OutboxSender *sender, const char *topic);
extern void outbox_sender_end(OutboxSender *sender);
extern bool outbox_sender_take_back(OutboxSender *sender, int patience_ms);
extern long outbox_sender_timeout_ms(const OutboxSender *sender);
extern void outbox_sender_close(OutboxSender *sender);

#endif /* OUTBOX_SENDER_H */
