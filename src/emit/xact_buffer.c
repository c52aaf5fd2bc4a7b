/*-------------------------------------------------------------------------
 *
 * xact_buffer.c
 *	  Holds the events that the current transaction has emitted, in the
 *	  order of the calls, until it commits.
 *
 * The buffer is one stream of bytes: its beginning in a temporary file, once
 * work_mem is full, and its end in memory. A record is a header and a tuple,
 * aligned. A subtransaction that emits leaves a mark where it
 * began; to roll it back is to cut the stream there, which costs the same for
 * one event and for a million.
 *
 * Everything belongs to the top transaction, its memory context and its
 * resource owner, and ends with it. The file has a context and an owner of its
 * own below these: so it can be thrown away at any time, without being
 * written to once more, which may fail.
 *
 * An error while the file is written to, for want of space say, leaves nobody
 * knows what in it. If it was caught in a subtransaction, the buffer can only
 * be rolled back from then on: to nothing, or with the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "emit/xact_buffer.h"

/* What is before each tuple */
typedef struct RecordHeader
{
	uint32 bytes;  /* of the tuple */
	uint32 origin; /* see outbox_xact_buffer_append() */
} RecordHeader;

#define RECORD_HEADER MAXALIGN(sizeof(RecordHeader))

/* memory used in any case, so that a few events need one allocation */
#define MEMORY_MIN    8192

/* Where the events of a subtransaction begin */
typedef struct Mark
{
	int nest_level;
	int64 offset;
	int64 events; /* before it */
} Mark;

static BufFile *file = NULL;
static MemoryContext file_context = NULL;
static ResourceOwner file_owner = NULL;
static bool broken = false;  /* what is in the file is not to be trusted */
static int64 file_bytes = 0; /* of the stream, in the file */
static char *memory = NULL;  /* the rest of it */
static Size memory_bytes = 0;
static Size memory_size = 0;
static int64 events = 0; /* in the stream */

static Mark *marks = NULL;
static int mark_count = 0;
static int mark_capacity = 0;

/* Leaves a mark if this is the first event of its subtransaction. */
static void
mark_subtransaction(void)
{
	int nest_level = GetCurrentTransactionNestLevel();

	if (nest_level == 1 ||
		(mark_count > 0 && marks[mark_count - 1].nest_level == nest_level))
		return;

	if (mark_count == mark_capacity)
	{
		int capacity = Max(8, mark_capacity * 2);

		if (marks == NULL)
			marks = MemoryContextAlloc(TopTransactionContext,
									   capacity * sizeof(Mark));
		else
			marks = repalloc(marks, capacity * sizeof(Mark));
		mark_capacity = capacity;
	}
	marks[mark_count].nest_level = nest_level;
	marks[mark_count].offset = file_bytes + memory_bytes;
	marks[mark_count].events = events;
	mark_count++;
}

static void
create_file(void)
{
	ResourceOwner old_owner = CurrentResourceOwner;
	MemoryContext old_context;

	if (file_context == NULL)
		file_context = AllocSetContextCreate(
			TopTransactionContext, "outbox buffer", ALLOCSET_DEFAULT_SIZES);
	if (file_owner == NULL)
		file_owner =
			ResourceOwnerCreate(TopTransactionResourceOwner, "outbox buffer");
	old_context = MemoryContextSwitchTo(file_context);
	CurrentResourceOwner = file_owner;
	file = BufFileCreateTemp(false);
	CurrentResourceOwner = old_owner;
	MemoryContextSwitchTo(old_context);
}

/* Throws the file away, which nobody needs any more. Cannot fail. */
static void
drop_file(void)
{
	if (file_owner != NULL)
	{
		ResourceOwnerRelease(file_owner, RESOURCE_RELEASE_BEFORE_LOCKS, false,
							 false);
		ResourceOwnerRelease(file_owner, RESOURCE_RELEASE_LOCKS, false, false);
		ResourceOwnerRelease(file_owner, RESOURCE_RELEASE_AFTER_LOCKS, false,
							 false);
		ResourceOwnerDelete(file_owner);
	}
	if (file_context != NULL)
		MemoryContextDelete(file_context);
	file = NULL;
	file_owner = NULL;
	file_context = NULL;
	broken = false;
}

static void
check_usable(void)
{
	if (broken)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("events of this transaction are lost"),
				 errdetail("They could not be written to a temporary file, "
						   "and that error was caught."),
				 errhint("Roll the transaction back, or to a savepoint before "
						 "its first event, and repeat it.")));
}

/* Goes to a place in the file; writes what is before it, if need be. */
static void
seek_file(int64 offset)
{
	broken = true;
	if (BufFileSeek(file, 0, offset, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not seek in the temporary file of "
							   "emitted events")));
	broken = false;
}

/* Moves what is in memory to the end of the file. */
static void
spill(void)
{
	if (memory_bytes == 0)
		return;

	if (file == NULL)
		create_file();
	/* the file may be longer than the stream: a cut leaves it as it is */
	seek_file(file_bytes);
	broken = true;
	BufFileWrite(file, memory, memory_bytes);
	broken = false;
	file_bytes += memory_bytes;
	memory_bytes = 0;
}

/* Makes room in memory for a record. */
static void
reserve(Size bytes)
{
	Size limit = Max((Size) work_mem * 1024, MEMORY_MIN);
	Size size;

	if (memory_bytes + bytes > limit)
		spill();
	if (memory_bytes + bytes <= memory_size)
		return;

	size = Max(MEMORY_MIN, memory_size * 2);
	size = Max(Min(size, limit), memory_bytes + bytes);
	if (memory == NULL)
		memory = MemoryContextAllocHuge(TopTransactionContext, size);
	else
		memory = repalloc_huge(memory, size);
	memory_size = size;
}

/*
 * Adds an event to the current (sub)transaction, with a number that readers
 * get with it; 0 = it came by no view. Raises an error if it must go to disk
 * and cannot; and 25000 if that has happened before.
 */
void
outbox_xact_buffer_append(HeapTuple tuple, uint32 origin)
{
	RecordHeader header = {.bytes = tuple->t_len, .origin = origin};
	Size bytes = RECORD_HEADER + MAXALIGN(tuple->t_len);
	char *record;

	check_usable();
	reserve(bytes);
	mark_subtransaction();

	record = memory + memory_bytes;
	StaticAssertStmt(sizeof(RecordHeader) == RECORD_HEADER,
					 "a record's header has no padding");
	memcpy(record, &header, RECORD_HEADER);
	memcpy(record + RECORD_HEADER, tuple->t_data, tuple->t_len);
	/* nothing of what was there before gets into the file */
	memset(record + RECORD_HEADER + tuple->t_len, 0,
		   bytes - RECORD_HEADER - tuple->t_len);
	memory_bytes += bytes;
	events++;
}

bool
outbox_xact_buffer_is_empty(void)
{
	return outbox_xact_buffer_bytes() == 0;
}

/* How much the transaction has emitted, and not rolled back */
int64
outbox_xact_buffer_events(void)
{
	return events;
}

int64
outbox_xact_buffer_bytes(void)
{
	return file_bytes + (int64) memory_bytes;
}

/* A subtransaction ends well: its events are its parent's from now on. */
void
outbox_xact_buffer_commit_sub(int nest_level)
{
	if (mark_count == 0 || marks[mark_count - 1].nest_level != nest_level)
		return;

	if (nest_level == 2 ||
		(mark_count > 1 && marks[mark_count - 2].nest_level == nest_level - 1))
		mark_count--;
	else
		marks[mark_count - 1].nest_level--;
}

/* A subtransaction is rolled back, and its events with it. Cannot fail. */
void
outbox_xact_buffer_abort_sub(int nest_level)
{
	while (mark_count > 0 && marks[mark_count - 1].nest_level >= nest_level)
	{
		int64 offset = marks[--mark_count].offset;

		events = marks[mark_count].events;
		if (offset >= file_bytes)
			memory_bytes = offset - file_bytes;
		else
		{
			file_bytes = offset;
			memory_bytes = 0;
		}
	}
	if (outbox_xact_buffer_is_empty())
		drop_file();
}

/* The transaction commits: nothing is read or appended any more. */
void
outbox_xact_buffer_close(void)
{
	drop_file();
	outbox_xact_buffer_forget();
}

/* The transaction is over. Its memory and its file go with it. */
void
outbox_xact_buffer_forget(void)
{
	file = NULL;
	file_context = NULL;
	file_owner = NULL;
	broken = false;
	file_bytes = 0;
	memory = NULL;
	memory_bytes = 0;
	memory_size = 0;
	events = 0;
	marks = NULL;
	mark_count = 0;
	mark_capacity = 0;
}

/* Begins to read at the first event. Raises 25000 if the file is broken. */
void
outbox_xact_buffer_rewind(OutboxBufferReader *reader)
{
	check_usable();
	memset(reader, 0, sizeof(*reader));
}

static void
read_file(void *out, Size bytes)
{
	if (BufFileRead(file, out, bytes) != bytes)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read the temporary file of emitted "
							   "events")));
}

/*
 * The next event, or NULL. The tuple may be written to, and is valid until
 * the next call, which reads into memory of the context current at the first.
 * Nothing may be appended in between.
 */
HeapTuple
outbox_xact_buffer_next(OutboxBufferReader *reader)
{
	char *record;
	RecordHeader header;

	if (reader->offset >= file_bytes + (int64) memory_bytes)
		return NULL;

	if (reader->offset >= file_bytes)
	{
		record = memory + (reader->offset - file_bytes);
		memcpy(&header, record, RECORD_HEADER);
		reader->tuple.t_data = (HeapTupleHeader) (record + RECORD_HEADER);
	}
	else
	{
		if (reader->offset == 0)
			seek_file(0);
		read_file(&header, RECORD_HEADER);
		if (MAXALIGN(header.bytes) > reader->scratch_size)
		{
			if (reader->scratch)
				pfree(reader->scratch);
			reader->scratch_size = MAXALIGN(header.bytes) + 1024;
			reader->scratch = palloc(reader->scratch_size);
		}
		read_file(reader->scratch, MAXALIGN(header.bytes));
		reader->tuple.t_data = (HeapTupleHeader) reader->scratch;
	}

	reader->offset += RECORD_HEADER + MAXALIGN(header.bytes);
	reader->origin = header.origin;
	reader->tuple.t_len = header.bytes;
	reader->tuple.t_tableOid = InvalidOid;
	ItemPointerSetInvalid(&reader->tuple.t_self);
	return &reader->tuple;
}
