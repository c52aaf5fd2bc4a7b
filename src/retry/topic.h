/*-------------------------------------------------------------------------
 *
 * topic.h
 *	  What the stream knows of the topics of its events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TOPIC_H
#define OUTBOX_TOPIC_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"

#include "sink/kind.h"

typedef struct OutboxTopic
{
	char name[OUTBOX_TOPIC_MAX + 1];
	int in_window;        /* its events that are not done */
	int in_flight;        /* of these, those that the sink has */
	const char *error;    /* why it cannot be written to; NULL = it can */
	dlist_node node;      /* among those that cannot */
	bool uncounted;       /* its absence, which may be long, is no attempt */
	TimestampTz asked_at; /* about it, since no answer came; see stuck.c */
	TimestampTz stuck_since; /* when the first event without one was sent */
	int refusals;            /* of its events, lately */
	TimestampTz refused_at;  /* the last one */
	bool suspect;            /* there have been too many */
	bool alone;         /* parked events of it go alone; see retry_outcome.c */
	uint32 alone_round; /* the last one in which one was refused */
	uint32 parked_in;   /* the run that has parked the first; park.c */
	bool blocked; /* as blocked_keys.c knows, since its first one is parked */
} OutboxTopic;

extern OutboxTopic *outbox_topic_find(const char *name);
extern void outbox_topic_failed(OutboxTopic *topic, const char *error);
extern void outbox_topic_parked(OutboxTopic *topic);
extern void outbox_topic_forget_window(void);
extern void outbox_topic_refused(OutboxTopic *topic);
extern bool outbox_topic_any_suspect(void);
extern bool outbox_topic_is_suspect(const char *name);
extern void outbox_topic_refused_in(const char *name, uint32 round);
extern void outbox_topic_passed_in(const char *name, uint32 round);
extern bool outbox_topic_goes_alone(const char *name);
extern int outbox_topic_failed_in_flight(void);
extern bool outbox_topic_is_back(const OutboxTopic *topic);
extern bool outbox_topic_any_back(void);

#endif /* OUTBOX_TOPIC_H */
