/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  What the stream knows of the topics of its events: how many of each are
 *	  in the window, and whether it can be written to.
 *
 * A topic that fails holds up no other: its events are kept back until the
 * sink has given back all that it has of it, and are parked then (park.c).
 *
 * Each event that is refused ends the stream's sink, and that costs everybody
 * time. So a topic with several refusals in a short time is suspect: for as
 * long as there are more, its events do not go through the stream. They queue
 * in outbox.parked, and the sinks of retry.c, for which a refusal is cheap,
 * publish them. It becomes suspect only while no event of it is under way, or
 * the others could overtake it.
 *
 * Names come from whoever emits, and there may be any number of them: a topic
 * is forgotten when nothing is known of it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "retry/topic.h"
#include "shared/policy.h"

/* so many are remembered without looking who can be forgotten */
#define TOPICS_MIN       1024

/* so many refusals, one after another in so much time, make it suspect */
#define SUSPECT_REFUSALS 3
#define SUSPECT_MS       10000

static HTAB *table = NULL;
static OutboxTopic *last = NULL; /* a run of events often has one topic */
static long limit = TOPICS_MIN;
static dlist_head failed = DLIST_STATIC_INIT(failed);
static MemoryContext errors = NULL;
static int suspects = 0;
static int loners = 0; /* topics whose events go alone */

static bool
is_past(const OutboxTopic *topic)
{
	return TimestampDifferenceExceeds(topic->refused_at, GetCurrentTimestamp(),
									  SUSPECT_MS);
}

/* Forgets the topics that there is nothing to know of. */
static void
sweep(void)
{
	HASH_SEQ_STATUS scan;
	OutboxTopic *topic;

	last = NULL;
	hash_seq_init(&scan, table);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		if (topic->in_window == 0 && topic->error == NULL && !topic->suspect &&
			is_past(topic))
			hash_search(table, topic->name, HASH_REMOVE, NULL);
	}
	limit = Max(TOPICS_MIN, 2 * hash_get_num_entries(table));
}

static void
create(void)
{
	HASHCTL ctl = {.keysize = sizeof(((OutboxTopic *) NULL)->name),
				   .entrysize = sizeof(OutboxTopic),
				   .hcxt = TopMemoryContext};

	table = hash_create("outbox topics", 64, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	errors = AllocSetContextCreate(TopMemoryContext, "outbox topic errors",
								   ALLOCSET_SMALL_SIZES);
}

/*
 * The topic of that name. It stays as long as an event of it is in the window,
 * or it has failed; else until the next call.
 */
OutboxTopic *
outbox_topic_find(const char *name)
{
	OutboxTopic *topic = last;
	bool found;

	if (topic != NULL && strcmp(topic->name, name) == 0)
		return topic;
	if (table == NULL)
		create();
	topic = hash_search(table, name, HASH_FIND, NULL);
	if (topic == NULL)
	{
		if (hash_get_num_entries(table) >= limit)
			sweep();
		topic = hash_search(table, name, HASH_ENTER, &found);
		memset((char *) topic + sizeof(topic->name), 0,
			   sizeof(OutboxTopic) - sizeof(topic->name));
	}
	last = topic;
	return topic;
}

/* It cannot be written to; the first error stays. */
void
outbox_topic_failed(OutboxTopic *topic, const char *error)
{
	if (topic->error != NULL)
		return;
	topic->error = MemoryContextStrdup(errors, error);
	dlist_push_tail(&failed, &topic->node);
}

/* All its events of the window are parked; blocked_keys.c knows the others. */
void
outbox_topic_parked(OutboxTopic *topic)
{
	if (topic->error == NULL)
		return;
	pfree(unconstify(char *, topic->error));
	topic->error = NULL;
	topic->blocked = topic->uncounted = false;
	dlist_delete(&topic->node);
}

/* How many events of such topics the sink still has */
int
outbox_topic_failed_in_flight(void)
{
	dlist_iter iter;
	int count = 0;

	dlist_foreach(iter, &failed)
	{
		count += dlist_container(OutboxTopic, node, iter.cur)->in_flight;
	}
	return count;
}

/* Has the sink given back all of a topic that has failed? */
bool
outbox_topic_is_back(const OutboxTopic *topic)
{
	return topic->error != NULL && topic->in_flight == 0;
}

/* Is there such a topic? */
bool
outbox_topic_any_back(void)
{
	dlist_iter iter;

	dlist_foreach(iter, &failed)
	{
		if (outbox_topic_is_back(dlist_container(OutboxTopic, node, iter.cur)))
			return true;
	}
	return false;
}

/* The window ends: what its sink has said of topics is not of the next one. */
void
outbox_topic_forget_window(void)
{
	HASH_SEQ_STATUS scan;
	OutboxTopic *topic;

	if (table == NULL)
		return;
	hash_seq_init(&scan, table);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		topic->in_window = topic->in_flight = 0;
		topic->error = NULL;
		topic->blocked = topic->uncounted = false;
	}
	dlist_init(&failed);
	MemoryContextReset(errors);
}

/*
 * An event of the stream has been refused, which ends the sink: none of the
 * topic is under way any more.
 */
void
outbox_topic_refused(OutboxTopic *topic)
{
	if (is_past(topic))
		topic->refusals = 0;
	topic->refusals++;
	topic->refused_at = GetCurrentTimestamp();
	/* everything halts at the first failure */
	if (topic->suspect || topic->refusals < SUSPECT_REFUSALS ||
		outbox_policy.on_failure == OUTBOX_ON_FAILURE_HALT)
		return;
	topic->suspect = true;
	suspects++;
}

/*
 * A parked event has been refused in that round: whoever is suspect stays it,
 * and the topic's others go alone, so that they are not refused with it.
 */
void
outbox_topic_refused_in(const char *name, uint32 round)
{
	OutboxTopic *topic = outbox_topic_find(name);

	topic->alone_round = round;
	if (!topic->alone)
		loners++;
	topic->alone = true;
	if (outbox_topic_is_suspect(name))
		topic->refused_at = GetCurrentTimestamp();
}

/* An event has gone alone: if none was refused in that round, they go together
 * again. */
void
outbox_topic_passed_in(const char *name, uint32 round)
{
	OutboxTopic *topic = loners > 0 ? outbox_topic_find(name) : NULL;

	if (topic == NULL || !topic->alone || topic->alone_round == round)
		return;
	topic->alone = false;
	loners--;
}

/* Must parked events of the topic go alone? */
bool
outbox_topic_goes_alone(const char *name)
{
	return loners > 0 && outbox_topic_find(name)->alone;
}

/* Is there a suspect topic? */
bool
outbox_topic_any_suspect(void)
{
	return suspects > 0;
}

/* Must the topic's events not go through the stream? Once that is over, it
 * is. */
bool
outbox_topic_is_suspect(const char *name)
{
	OutboxTopic *topic = suspects > 0 ? outbox_topic_find(name) : NULL;

	if (topic == NULL || !topic->suspect)
		return false;
	if (!is_past(topic) && outbox_policy.on_failure != OUTBOX_ON_FAILURE_HALT)
		return true;
	topic->suspect = false;
	topic->refusals = 0;
	suspects--;
	return false;
}
