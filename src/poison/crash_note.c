/*-------------------------------------------------------------------------
 *
 * crash_note.c
 *	  A relay that is ended by a signal leaves a note for the next one: so an
 *	  event that crashes the client library is found, and does it no more.
 *
 *	  how the last life ended			the next one
 *	  ------------------------------	-------------------------------------
 *	  in good order						publishes as always
 *	  by a signal						publishes small pages, and each only
 *										when the one before it has its
 *										answers, until it is past all that
 *										was there, but for a minute at most
 *	  the same, while it did that		publishes one event at a time, past
 *										the page that was under way
 *	  the same, while it did that, and	makes a dead letter of that event, and
 *	  so did the one before it, both	goes on so
 *	  with the same event
 *
 * Somebody may have killed it, several times: as soon as a relay has got on,
 * the next signal is the first one again, and what has been under way for some
 * seconds is not what ends the process.
 *
 * The note is a file of a few bytes. It is not flushed: it tells of the end of
 * a process, not of a machine. While all is well it is written once a life. If
 * it cannot be, the relay does without.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "poison/crash_note.h"
#include "shared/my_relay.h"
#include "shared/policy.h"

#define NOTE_MAGIC     0x6f626c33

/* events of a small page */
#define STEP_EVENTS    200

/* how long a life is careful at least, and at most */
#define CAREFUL_MIN_MS 10000
#define CAREFUL_MAX_MS 60000

/* what has been under way for so long does not end the process */
#define INNOCENT_MS    5000

typedef struct Note
{
	uint32 magic;
	uint32 lives;    /* in a row that have not got on, this one included */
	uint64 position; /* where it has got to */
	uint64 upto;     /* the last event of the page under way; 0 = none */
	uint64 alone;    /* the event that is under way alone; 0 = none */
	uint64 before;   /* that was under way alone when the last life ended */
	uint32 lane;     /* of alone */
	uint32 lane_before;
	TimestampTz created_at; /* of the relay whose note it is */
} Note;

static Note note;
static int file = -1;
static bool careful = false;
static uint64 single_upto = 0;  /* one event at a time, up to there */
static uint64 careful_upto = 0; /* what was there when this life began */
static TimestampTz began_at = 0;
static TimestampTz noted_at = 0;
static uint64 condemned = 0;
static OutboxLane condemned_lane;

/* A file for each relay, in a directory that every data directory has, and
 * backups leave alone */
static void
file_name(char *name, Oid dbid, int number)
{
	snprintf(name, MAXPGPATH, "%s/outbox_%u_%d",
			 PGSTAT_STAT_PERMANENT_DIRECTORY, dbid, number);
}

static void
write_note(void)
{
	if (file < 0)
		return;
	if (pg_pwrite(file, &note, sizeof(note), 0) == (ssize_t) sizeof(note))
		return;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("outbox: could not write a file of %d bytes in "
					"directory \"%s\": %m",
					(int) sizeof(note), PGSTAT_STAT_PERMANENT_DIRECTORY)));
	close(file);
	file = -1;
}

/* What the last life has left; zeros if there is nothing. */
static Note
read_note(void)
{
	Note last = {0};
	char name[MAXPGPATH];

	file_name(name, MyDatabaseId, outbox_my_relay.number);
	file = BasicOpenFile(name, O_RDWR | O_CREAT | O_CLOEXEC | PG_BINARY);
	if (file < 0)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not open file \"%s\": %m", name)));
	else if (pg_pread(file, &last, sizeof(last), 0) !=
				 (ssize_t) sizeof(last) ||
			 last.magic != NOTE_MAGIC ||
			 last.created_at != outbox_policy.created_at)
		memset(&last, 0, sizeof(last));
	return last;
}

/* Had the last life got on when it ended? */
static bool
has_got_on(const Note *last, uint64 position)
{
	if (last->alone != 0)
		return last->lane == OUTBOX_LANE_STREAM && position >= last->alone;
	return last->upto != 0 ? position >= last->upto
						   : position > last->position;
}

/*
 * A life begins, at that position; last_id is the last one handed out. To be
 * called before anything is given to a sink, or one is opened.
 */
void
outbox_crash_note_begin(uint64 position, uint64 last_id)
{
	Note last = read_note();

	note.magic = NOTE_MAGIC;
	note.lives = 1;
	note.position = position;
	note.created_at = outbox_policy.created_at;
	began_at = GetCurrentTimestamp();
	careful = (last.lives > 0);
	careful_upto = last_id;
	if (careful && !has_got_on(&last, position))
	{
		note.lives = Max(last.lives, 1) + 1;
		single_upto = last.upto;
		note.before = last.alone;
		note.lane_before = last.lane;
		if (last.alone != 0 && last.alone == last.before &&
			last.lane == last.lane_before)
		{
			condemned = last.alone;
			condemned_lane = (OutboxLane) last.lane;
		}
	}
	write_note();
	if (note.lives > 2)
		ereport(WARNING,
				(errmsg("%s publishes slowly: %u processes before it have "
						"been ended by a signal at the same place",
						outbox_my_relay.label, note.lives - 1)));
}

/* This life ends in good order. */
void
outbox_crash_note_end(void)
{
	note.lives = 0;
	note.upto = note.alone = 0;
	write_note();
}

/* A database is gone: so are the notes of its relays. */
void
outbox_crash_note_forget(Oid dbid)
{
	char name[MAXPGPATH];

	for (int number = 0; number < OUTBOX_RELAYS; number++)
	{
		file_name(name, dbid, number);
		(void) unlink(name);
	}
}

/* Is it one of the slow lives, of which the head tells? */
bool
outbox_crash_note_is_careful(void)
{
	return careful;
}

/* How many events of the stream may be under way at once, in a careful life */
int
outbox_crash_note_limit(uint64 position)
{
	return position < single_upto ? 1 : STEP_EVENTS;
}

/* In a careful life: the event is given to a sink next. */
void
outbox_crash_note_note(OutboxLane lane, uint64 id)
{
	if (!careful)
		return;
	note.lane = lane;
	if (lane == OUTBOX_LANE_PARKED || id <= single_upto)
		note.alone = id;
	if (lane == OUTBOX_LANE_STREAM)
		note.upto = Max(single_upto, id);
	noted_at = GetCurrentTimestamp();
	write_note();
}

/*
 * In a careful life, now and then: takes back what is innocent. all_answered:
 * nothing is under way, and the position has been written.
 */
void
outbox_crash_note_check(uint64 position, bool all_answered)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!careful)
		return;
	if ((note.alone != 0 || note.upto != 0) &&
		(all_answered ||
		 TimestampDifferenceExceeds(noted_at, now, INNOCENT_MS)))
	{
		note.alone = 0;
		note.upto = position < single_upto ? single_upto : 0;
		if (all_answered && note.upto == 0 && position > note.position)
			note.lives = 1;
		note.position = position;
		write_note();
	}
	if (position < single_upto || condemned != 0 ||
		!TimestampDifferenceExceeds(began_at, now, CAREFUL_MIN_MS) ||
		(position < careful_upto &&
		 !TimestampDifferenceExceeds(began_at, now, CAREFUL_MAX_MS)))
		return;
	careful = false;
	note.lives = 1;
	note.alone = note.upto = 0;
	note.position = position;
	write_note();
}

/* The event that is to become a dead letter; 0 = none */
uint64
outbox_crash_note_condemned(OutboxLane lane)
{
	return condemned_lane == lane ? condemned : 0;
}

/* It has become one. */
void
outbox_crash_note_acquit(void)
{
	condemned = 0;
	note.alone = 0;
	write_note();
}
