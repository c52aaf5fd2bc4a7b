/*-------------------------------------------------------------------------
 *
 * property_files.c
 *	  Notices that files which properties name, such as certificates and keys,
 *	  are others than before: the client library reads them when a sink is
 *	  opened, and never again.
 *
 * They are told apart by what the system says of them, not by their contents:
 * so no key is read into memory, and a large list of revoked certificates costs
 * nothing at a reload. The time of the last change of the inode is part of it,
 * which nobody can set back: a copy that keeps its dates is noticed, too. A
 * file that was only touched counts as another one, which costs a connection.
 *
 * Nothing here raises an error, as in properties.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "storage/fd.h"

#include "sink/property_files.h"

/* of a directory, no more files are looked at */
#define ENTRIES_MAX 10000

/* What tells one file from another */
static uint64
stamp_of(const struct stat *st)
{
	uint64 marks[] = {
		(uint64) st->st_dev,          (uint64) st->st_ino,
		(uint64) st->st_size,         (uint64) st->st_mtim.tv_sec,
		(uint64) st->st_mtim.tv_nsec, (uint64) st->st_ctim.tv_sec,
		(uint64) st->st_ctim.tv_nsec,
	};

	return hash_bytes_extended((const unsigned char *) marks, sizeof(marks),
							   0);
}

/*
 * A directory of certificates: its files count, in whatever order they come.
 * False, with errno, if it cannot be read.
 */
static bool
add_entries(const char *path, uint64 *stamp)
{
	DIR *dir = AllocateDir(path);
	struct dirent *entry;

	if (dir == NULL)
		return false;
	for (int i = 0; i < ENTRIES_MAX; i++)
	{
		struct stat st;

		entry = ReadDirExtended(dir, path, LOG);
		if (entry == NULL)
			break;
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
			S_ISREG(st.st_mode))
			*stamp += stamp_of(&st);
	}
	FreeDir(dir);
	return true;
}

/* What a property names: false, with errno, if it cannot be read. */
static bool
add_path(const char *path, uint64 *stamp)
{
	struct stat st;
	uint64 mine;

	if (stat(path, &st) != 0)
		return false;
	mine = stamp_of(&st);
	if (S_ISDIR(st.st_mode) ? !add_entries(path, &mine)
							: access(path, R_OK) != 0)
		return false;
	*stamp = hash_combine64(*stamp, mine);
	return true;
}

/* Is it set again by a later one, which is what counts then? */
static bool
is_overridden(const OutboxProperties *properties, int number)
{
	for (int i = number + 1; i < properties->count; i++)
	{
		if (strcmp(properties->items[i].name,
				   properties->items[number].name) == 0)
			return true;
	}
	return false;
}

/*
 * A number that becomes another one when a file that the properties name does.
 * Returns false and a message in error (of OUTBOX_PROPERTY_ERROR_MAX bytes) if
 * one of them cannot be read.
 */
bool
outbox_property_files_stamp(const OutboxProperties *properties, uint64 *stamp,
							char *error)
{
	*stamp = 0;
	for (int i = 0; i < properties->count; i++)
	{
		const OutboxProperty *property = &properties->items[i];

		if (!properties->kind->property_is_file(property->name,
												property->value) ||
			is_overridden(properties, i) || add_path(property->value, stamp))
			continue;
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "could not read \"%s\", which property \"%s\" names: %s",
				 property->value, property->name, strerror(errno));
		return false;
	}
	return true;
}
