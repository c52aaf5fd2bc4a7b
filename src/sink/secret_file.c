/*-------------------------------------------------------------------------
 *
 * secret_file.c
 *	  Reads a file that may hold secrets, if nobody else can: who owns it, its
 *	  mode and its size are checked.
 *
 * Nothing here raises an error, as in properties.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "sink/kind.h"
#include "sink/secret_file.h"

/* certificates and keys may be in the file */
#define FILE_BYTES_MAX (256 * 1024)

#define UTF8_MARK      "\xEF\xBB\xBF"

/* The file must be ours or root's, and closed to everybody else. */
static bool
check_file(int fd, const char *path, char *error)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "\"%s\" is not a regular file.", path);
		return false;
	}
	if ((st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO))) ||
		(st.st_uid == 0 && (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO))))
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "File \"%s\" must be owned by the server's user and have "
				 "mode 0600 or less, or by root and 0640 or less.",
				 path);
		return false;
	}
	return true;
}

/* Reads all of a file into text, of FILE_BYTES_MAX + 1 bytes. A mark that it is
 * UTF-8, which some editors put in front, is left out. */
static bool
read_text(int fd, const char *path, char *text, char *error)
{
	size_t size = 0;
	ssize_t got;

	while ((got = read(fd, text + size, FILE_BYTES_MAX + 1 - size)) > 0)
	{
		size += got;
		if (size > FILE_BYTES_MAX)
		{
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "File \"%s\" is larger than %d kB.", path,
					 FILE_BYTES_MAX / 1024);
			return false;
		}
	}
	if (got < 0)
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Could not read file \"%s\": %s.", path, strerror(errno));
		return false;
	}
	text[size] = '\0';
	if (strlen(text) == size)
	{
		if (strncmp(text, UTF8_MARK, strlen(UTF8_MARK)) == 0)
			memmove(text, text + strlen(UTF8_MARK),
					size + 1 - strlen(UTF8_MARK));
		return true;
	}
	snprintf(error, OUTBOX_PROPERTY_ERROR_MAX, "File \"%s\" is not a text.",
			 path);
	return false;
}

/*
 * The text of a file, palloc'd; or NULL and a message in error (of
 * OUTBOX_PROPERTY_ERROR_MAX bytes).
 */
char *
outbox_secret_file_read(const char *path, char *error)
{
	/* a pipe would have us wait for somebody who writes to it */
	int fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	char *text;
	bool ok;

	if (fd < 0)
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Could not open file \"%s\": %s.", path, strerror(errno));
		return NULL;
	}
	text = palloc(FILE_BYTES_MAX + 1);
	ok = check_file(fd, path, error) && read_text(fd, path, text, error);
	CloseTransientFile(fd);
	if (ok)
		return text;
	outbox_secret_file_forget(text);
	return NULL;
}

/* Frees the text, and leaves nothing of it in memory. */
void
outbox_secret_file_forget(char *text)
{
	explicit_bzero(text, FILE_BYTES_MAX + 1);
	pfree(text);
}
