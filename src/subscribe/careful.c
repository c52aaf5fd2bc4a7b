/*-------------------------------------------------------------------------
 *
 * careful.c
 *	  A subscriber that is ended by a signal leaves a note for the next one:
 *	  so a message whose handler crashes the server is found, and does it no
 *	  more. poison/crash_note.c does the same for a relay.
 *
 *	  how the last life ended			the next one
 *	  ------------------------------	-------------------------------------
 *	  in good order						handles batches, as always
 *	  by a crash of another process		goes on as the last one did
 *	  by a signal of its own, or		is careful: handles each message in a
 *	  a fatal error in a handler, or	transaction of its own, and notes it
 *	  because that did not let itself	before, for a minute at most
 *	  be cancelled
 *	  the same, three times in a row,	is careful, and makes a dead letter of
 *	  with the same message noted		that message
 *
 * When a process of the server crashes, the postmaster ends all others by
 * SIGQUIT. Who gets that is innocent, and says so in his note: so messages that
 * are under way elsewhere are not blamed for what their neighbour does.
 *
 * The note is a file of a few bytes. It is not flushed: it tells of the end of
 * a process, not of a machine. While all is well it is written once a life. If
 * it cannot be, the subscriber does without.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "shared/my_relay.h"
#include "subscribe/careful.h"
#include "subscribe/handler.h"

#define NOTE_MAGIC       0x6f627331

/* how often a message is noted when its process ends, until it is blamed */
#define ENDS             3

/* how long a life is careful, and for how many messages: no batch has more */
#define CAREFUL_MS       60000
#define CAREFUL_MESSAGES 10000

typedef struct Note
{
	uint32 magic;
	bool alive;             /* it has not ended in good order */
	bool innocent;          /* it was ended because of another process */
	bool careful;           /* it is a careful life */
	uint64 current;         /* the message that is under way alone; 0 = none */
	uint64 suspect;         /* that was under way when the last life ended */
	uint32 ends;            /* how many in a row, with that one */
	uint64 condemned;       /* that has become a dead letter, the last one */
	TimestampTz created_at; /* of the subscription whose note it is */
} Note;

static Note note;
static int file = -1;
static TimestampTz began_at;
static int messages = 0; /* noted in this life */

/* A file for each worker, in a directory that every data directory has, and
 * backups leave alone */
static void
file_name(char *name, Oid dbid, int number, int worker)
{
	snprintf(name, MAXPGPATH, "%s/outbox_%u_s%d_%d",
			 PGSTAT_STAT_PERMANENT_DIRECTORY, dbid, number, worker);
}

/* A message: by its id, as it may come again at another place; never 0 */
static uint64
name_of(const OutboxMessage *message)
{
	const text *id = message->message_id;
	uint64 hash;

	if (id != NULL)
		hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(id),
								   VARSIZE_ANY_EXHDR(id), 0);
	else
		hash = hash_combine64(
			hash_bytes_extended((const unsigned char *) message->topic,
								(int) strlen(message->topic),
								(uint64) message->number),
			(uint64) message->offset);
	return hash != 0 ? hash : 1;
}

/* Called by SIGQUIT, too. */
static bool
write_note(void)
{
	return pg_pwrite(file, &note, sizeof(note), 0) == (ssize_t) sizeof(note);
}

static void
write_note_or_tell(void)
{
	if (file < 0 || write_note())
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

	file_name(name, MyDatabaseId, outbox_subscriber.subscription->number,
			  outbox_subscriber.worker);
	file = BasicOpenFile(name, O_RDWR | O_CREAT | O_CLOEXEC | PG_BINARY);
	if (file < 0)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not open file \"%s\": %m", name)));
	else if (pg_pread(file, &last, sizeof(last), 0) !=
				 (ssize_t) sizeof(last) ||
			 last.magic != NOTE_MAGIC ||
			 last.created_at != outbox_subscriber.subscription->created_at)
		memset(&last, 0, sizeof(last));
	return last;
}

/* SIGQUIT: another process has crashed, or the server is stopped at once. */
static void
end_at_once(SIGNAL_ARGS)
{
	note.current = 0;
	note.innocent = true;
	if (file >= 0)
		(void) write_note();
	_exit(2);
}

/* The process ends in good order, unless a handler has ended it, or has left no
 * other way as it could not be stopped. */
static void
before_exit_end(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (outbox_handler_is_reason())
		return;
	note.alive = false;
	if (file >= 0)
		(void) write_note();
}

/* A life begins. To be called before any message is handled. */
void
outbox_careful_begin(void)
{
	Note last = read_note();

	note = (Note){.magic = NOTE_MAGIC,
				  .alive = true,
				  .created_at = outbox_subscriber.subscription->created_at};
	began_at = GetCurrentTimestamp();
	if (last.alive && last.innocent)
	{
		note.careful = last.careful;
		note.suspect = last.suspect;
		note.ends = last.ends;
		note.condemned = last.condemned;
	}
	else if (last.alive)
	{
		note.condemned = last.condemned;
		note.careful = true;
		note.suspect = last.current;
		if (last.current != 0)
			note.ends = (last.current == last.suspect) ? last.ends + 1 : 1;
	}
	write_note_or_tell();
	pqsignal(SIGQUIT, end_at_once);
	before_shmem_exit(before_exit_end, (Datum) 0);
	if (note.careful && !last.innocent)
		ereport(WARNING,
				(errmsg("%s handles messages one by one for a while",
						outbox_my_relay.label),
				 errdetail("The process before it was ended by a signal, or "
						   "by a handler: by a fatal error, or because it "
						   "could not be cancelled.")));
}

/* A database is gone: so are the notes of its subscribers. */
void
outbox_careful_forget(Oid dbid)
{
	DIR *dir = AllocateDir(PGSTAT_STAT_PERMANENT_DIRECTORY);
	struct dirent *entry;
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "outbox_%u_s", dbid);
	while ((entry = ReadDirExtended(dir, PGSTAT_STAT_PERMANENT_DIRECTORY,
									LOG)) != NULL)
	{
		char name[MAXPGPATH];

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", PGSTAT_STAT_PERMANENT_DIRECTORY,
				 entry->d_name);
		(void) unlink(name);
	}
	if (dir != NULL)
		FreeDir(dir);
}

/* It was careful for long enough. */
static void
relax(void)
{
	note.careful = false;
	note.current = note.suspect = note.condemned = 0;
	note.ends = 0;
	write_note_or_tell();
}

/* Is each message to be handled in a transaction of its own, and noted? */
bool
outbox_careful_is_on(void)
{
	if (note.careful && (messages >= CAREFUL_MESSAGES ||
						 TimestampDifferenceExceeds(
							 began_at, GetCurrentTimestamp(), CAREFUL_MS)))
		relax();
	return note.careful;
}

/*
 * In a careful life: this message is handled next, in a transaction in which
 * no other one is. False if it must not be: it has ended the process each time,
 * and is to become a dead letter by outbox_failures_condemn(); so is one that
 * repeats it.
 */
bool
outbox_careful_note(const OutboxMessage *message)
{
	uint64 name;

	if (!note.careful)
		return true;
	name = name_of(message);
	if (name == note.condemned || (name == note.suspect && note.ends >= ENDS))
		return false;
	note.current = name;
	messages++;
	write_note_or_tell();
	return true;
}

/* The message that was to become one is a dead letter. */
void
outbox_careful_acquit(void)
{
	if (note.suspect != 0)
		note.condemned = note.suspect;
	note.suspect = 0;
	note.ends = 0;
	write_note_or_tell();
}
