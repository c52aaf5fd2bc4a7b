/*-------------------------------------------------------------------------
 *
 * figures.c
 *	  What relays have done, in numbers, for who watches them: a place of
 *	  shared memory for each relay, which outlives its process, and a relay of
 *	  the same name that comes after it does not find.
 *
 * A relay counts in memory of its own, and shows that now and then, before it
 * sleeps at the latest. It is the only one to write there. Others copy it, and
 * copy it again if it was written to meanwhile, as pgstat does with the status
 * of backends: nobody waits for anybody.
 *
 * There are as many places as relays may run, so that one is always free, or
 * that of a relay that does not run: of these, the one that ended first.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/relays.h"

/* how often they are shown while there is much to do */
#define SHOW_EVERY_MS 20

/* of the topics that are counted apart */
typedef struct TopicEntry
{
	char name[OUTBOX_TOPIC_MAX + 1];
	OutboxTopicFigures *figures;
} TopicEntry;

/* of this relay */
static OutboxFiguresSlot *my_slot = NULL;
static OutboxFigures mine;
static HTAB *my_topics = NULL;
static TopicEntry *last_topic = NULL; /* a run of events often has one topic */
static bool changed = false;
static TimestampTz shown_at = 0;

/* The place of a relay of our database, or NULL. The caller holds the lock. */
static OutboxFiguresSlot *
find_slot(const char *relay, TimestampTz created_at)
{
	for (int i = 0; i < outbox_max_relays; i++)
	{
		OutboxFiguresSlot *slot = &outbox_shmem->figures[i];

		if (slot->dbid == MyDatabaseId && slot->created_at == created_at &&
			strcmp(slot->relay, relay) == 0)
			return slot;
	}
	return NULL;
}

/* The place that is needed least. The caller holds the lock. */
static OutboxFiguresSlot *
find_place(void)
{
	OutboxFiguresSlot *place = NULL;

	for (int i = 0; i < outbox_max_relays; i++)
	{
		OutboxFiguresSlot *slot = &outbox_shmem->figures[i];

		if (slot->dbid == InvalidOid)
			return slot;
		if (slot->pid == 0 &&
			(place == NULL || slot->left_at < place->left_at))
			place = slot;
	}
	return place;
}

static void
begin_anew(uint32 reset, TimestampTz at)
{
	memset(&mine, 0, sizeof(mine));
	mine.reset_at = at;
	mine.reset = reset;
	if (my_topics != NULL)
		hash_destroy(my_topics);
	my_topics = NULL;
	last_topic = NULL;
	changed = true;
}

/* Takes the figures of our last life over, if they are still there; once, when
 * this process has become the relay. */
void
outbox_figures_attach(void)
{
	const char *relay = outbox_my_relay.name;
	TimestampTz created_at;
	OutboxFiguresSlot *slot;
	bool found;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	created_at = outbox_my_relay.slot->created_at;
	slot = find_slot(relay, created_at);
	found = (slot != NULL);
	if (!found)
		slot = find_place();
	if (slot != NULL)
	{
		slot->dbid = MyDatabaseId;
		slot->created_at = created_at;
		strlcpy(slot->relay, relay, sizeof(slot->relay));
		slot->pid = MyProcPid;
		if (found)
			mine = slot->figures;
		else
			begin_anew(pg_atomic_read_u32(&slot->resets),
					   GetCurrentTimestamp());
	}
	my_slot = slot;
	/* nobody finds what another relay had there */
	outbox_figures_show(true);
	LWLockRelease(outbox_shmem->lock);
}

/* The process ends; its figures stay. */
void
outbox_figures_detach(void)
{
	if (my_slot == NULL)
		return;
	outbox_figures_show(true);
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	my_slot->pid = 0;
	my_slot->left_at = GetCurrentTimestamp();
	LWLockRelease(outbox_shmem->lock);
	my_slot = NULL;
}

/* Those that have been taken over from our last life are known, too. */
static void
create_topics(void)
{
	HASHCTL ctl = {.keysize = sizeof(((TopicEntry *) NULL)->name),
				   .entrysize = sizeof(TopicEntry),
				   .hcxt = TopMemoryContext};

	my_topics = hash_create("outbox figures of topics", OUTBOX_FIGURES_TOPICS,
							&ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 1; i <= mine.topics; i++)
	{
		TopicEntry *entry =
			hash_search(my_topics, mine.topic[i].name, HASH_ENTER, NULL);

		entry->figures = &mine.topic[i];
	}
}

/*
 * Where what happens to events of a topic is counted. It stays there until
 * outbox_figures_show() has returned, which may let them begin anew.
 */
OutboxTopicFigures *
outbox_figures_topic(const char *name)
{
	TopicEntry *entry;
	bool found;

	if (my_topics == NULL)
		create_topics();
	if (last_topic != NULL && strcmp(last_topic->name, name) == 0)
		return last_topic->figures;
	entry = hash_search(
		my_topics, name,
		mine.topics < OUTBOX_FIGURES_TOPICS ? HASH_ENTER : HASH_FIND, &found);
	if (entry == NULL)
		return &mine.topic[0];
	if (!found)
	{
		/* the place may have been another's in our last life: only those that
		 * are in use have been written since */
		entry->figures = &mine.topic[++mine.topics];
		memset(entry->figures, 0, sizeof(*entry->figures));
		strlcpy(entry->figures->name, name, sizeof(entry->figures->name));
	}
	last_topic = entry;
	return entry->figures;
}

/* An event of the stream has been acknowledged, so many microseconds after it
 * was sent, and after its transaction had committed. */
void
outbox_figures_published(OutboxTopicFigures *topic, uint32 bytes,
						 int64 sent_us, int64 commit_us)
{
	mine.published++;
	mine.bytes += bytes;
	outbox_histogram_add(&mine.sent_to_ack, sent_us);
	outbox_histogram_add(&mine.commit_to_ack, commit_us);
	topic->published++;
	topic->bytes += bytes;
	changed = true;
}

/* A parked one has, which says nothing of how quick we are. */
void
outbox_figures_retried(const char *topic, uint32 bytes)
{
	OutboxTopicFigures *figures = outbox_figures_topic(topic);

	mine.published++;
	mine.bytes += bytes;
	figures->published++;
	figures->bytes += bytes;
	figures->published_at = GetCurrentTimestamp();
	changed = true;
}

/* An attempt to publish an event has failed. */
void
outbox_figures_failed(const char *topic, OutboxFailure failure)
{
	OutboxTopicFigures *figures = outbox_figures_topic(topic);

	mine.failures[failure]++;
	figures->failures++;
	figures->failed_at = GetCurrentTimestamp();
	changed = true;
}

/* Events have become dead letters; topic is NULL if it is not known. */
void
outbox_figures_dead(const char *topic, uint64 count, bool expired)
{
	if (count == 0)
		return;
	mine.dead_letters += count;
	if (expired)
		mine.expired += count;
	(topic ? outbox_figures_topic(topic) : &mine.topic[0])->dead_letters +=
		count;
	changed = true;
}

/* So many events the stream's sink has now, and so much memory they take. */
void
outbox_figures_queue(uint64 events, uint64 bytes)
{
	if (mine.queue_events == events && mine.queue_bytes == bytes)
		return;
	mine.queue_events = events;
	mine.queue_bytes = bytes;
	changed = true;
}

/* What the sink has told of itself */
void
outbox_figures_sink(const OutboxSinkStatistics *sink)
{
	mine.sink = *sink;
	mine.sink_at = GetCurrentTimestamp();
	changed = true;
}

static void
note_rate(TimestampTz now)
{
	OutboxRateMark *last =
		&mine.mark[(mine.marks + OUTBOX_RATE_MARKS - 1) % OUTBOX_RATE_MARKS];
	OutboxRateMark *next = &mine.mark[mine.marks % OUTBOX_RATE_MARKS];

	if (mine.marks > 0 && last->at <= now &&
		!TimestampDifferenceExceeds(last->at, now, 1000))
		return;
	next->at = now;
	next->published = mine.published;
	mine.marks++;
}

/*
 * Shows others what has been counted; unless it must be now, only if that has
 * not been done for a moment.
 */
void
outbox_figures_show(bool now)
{
	TimestampTz time;

	if (my_slot == NULL)
		return;
	if (pg_atomic_read_u32(&my_slot->resets) != mine.reset)
		begin_anew(pg_atomic_read_u32(&my_slot->resets),
				   (TimestampTz) pg_atomic_read_u64(&my_slot->resets_at));
	if (!changed)
		return;
	time = GetCurrentTimestamp();
	if (!now && shown_at <= time &&
		!TimestampDifferenceExceeds(shown_at, time, SHOW_EVERY_MS))
		return;
	note_rate(time);
	pg_atomic_fetch_add_u32(&my_slot->changes, 1);
	pg_write_barrier();
	memcpy(&my_slot->figures, &mine,
		   offsetof(OutboxFigures, topic) +
			   (mine.topics + 1) * sizeof(OutboxTopicFigures));
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&my_slot->changes, 1);
	changed = false;
	shown_at = time;
}

/* The place of a relay of our database, running or not; NULL if there is no
 * such relay, or it has not run since the server started. The caller holds the
 * lock. */
static OutboxFiguresSlot *
find_slot_of(const char *relay)
{
	OutboxDatabase *db = outbox_shmem_find(MyDatabaseId);
	OutboxRelaySlot *its =
		db != NULL && relay[0] != '\0' ? outbox_relays_find(db, relay) : NULL;

	return its != NULL ? find_slot(relay, its->created_at) : NULL;
}

static OutboxFiguresSlot *
slot_of(const char *relay)
{
	OutboxFiguresSlot *slot;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	slot = find_slot_of(relay);
	LWLockRelease(outbox_shmem->lock);
	return slot;
}

/*
 * A relay's figures, as of one moment; false if there are none. If they were to
 * begin anew, and the relay has not got round to it, they have.
 */
bool
outbox_figures_read(const char *relay, OutboxFigures *figures)
{
	OutboxFiguresSlot *slot = slot_of(relay);
	uint32 before;
	uint32 after;

	if (slot == NULL)
		return false;
	do
	{
		CHECK_FOR_INTERRUPTS();
		before = pg_atomic_read_u32(&slot->changes);
		pg_read_barrier();
		memcpy(figures, &slot->figures, sizeof(*figures));
		pg_read_barrier();
		after = pg_atomic_read_u32(&slot->changes);
	} while (before != after || before % 2 != 0);

	/* a relay that has ended loses its place to one that begins */
	if (slot_of(relay) != slot)
		return false;
	if (figures->reset != pg_atomic_read_u32(&slot->resets))
	{
		memset(figures, 0, sizeof(*figures));
		figures->reset_at = (TimestampTz) pg_atomic_read_u64(&slot->resets_at);
	}
	return true;
}

/* Has a relay figures? */
bool
outbox_figures_exist(const char *relay)
{
	return slot_of(relay) != NULL;
}

/* Lets a relay's figures begin anew, if there are any. Cannot fail. */
void
outbox_figures_reset(const char *relay)
{
	OutboxFiguresSlot *slot;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	slot = find_slot_of(relay);
	if (slot != NULL)
	{
		pg_atomic_write_u64(&slot->resets_at, (uint64) GetCurrentTimestamp());
		pg_atomic_fetch_add_u32(&slot->resets, 1);
	}
	LWLockRelease(outbox_shmem->lock);
}

/* Events a second, over the last seconds */
double
outbox_figures_rate(const OutboxFigures *figures, TimestampTz now)
{
	TimestampTz from = now - OUTBOX_RATE_S * USECS_PER_SEC;
	uint32 first = figures->marks > OUTBOX_RATE_MARKS
					   ? figures->marks - OUTBOX_RATE_MARKS
					   : 0;
	const OutboxRateMark *begin = NULL;

	for (uint32 i = first; i < figures->marks; i++)
	{
		const OutboxRateMark *mark = &figures->mark[i % OUTBOX_RATE_MARKS];

		if (begin == NULL || mark->at <= from)
			begin = mark;
	}
	if (begin == NULL || now <= begin->at)
		return 0;
	return (double) (figures->published - begin->published) /
		   ((double) Max(Min(now - begin->at, now - from), USECS_PER_SEC) /
			USECS_PER_SEC);
}
