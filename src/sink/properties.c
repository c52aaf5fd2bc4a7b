/*-------------------------------------------------------------------------
 *
 * properties.c
 *	  Reads lists of properties for the client library, from a setting or from
 *	  a file, and refuses what may not be set (kind.h). The library itself
 *	  refuses what it does not know, when the relay opens it.
 *
 * Nothing here raises an error: callers are check hooks, and the relay, which
 * must go on with its running producer. Functions return NULL or false and
 * leave a message. A message names a property, never its value, which may be
 * a secret. The memory is palloc'd in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "sink/properties.h"

/* certificates and keys may be in the file */
#define FILE_BYTES_MAX (256 * 1024)

/* Adds a property; false with a message if it may not be set. */
static bool
add_property(OutboxProperties *properties, const char *name, const char *value,
			 char *error)
{
	if (properties->kind->property_is_forbidden(name, value, error))
		return false;

	if (properties->count == properties->capacity)
	{
		properties->capacity = Max(16, properties->capacity * 2);
		properties->items =
			properties->items
				? repalloc(properties->items,
						   properties->capacity * sizeof(OutboxProperty))
				: palloc(properties->capacity * sizeof(OutboxProperty));
	}
	properties->items[properties->count].name = pstrdup(name);
	properties->items[properties->count].value = pstrdup(value);
	properties->items[properties->count].secret =
		properties->kind->property_is_secret(name, value);
	properties->count++;
	return true;
}

/*
 * Reads one value, plain or in single quotes (two of them stand for one),
 * into out, which is as long as the text. Returns where it ends, or NULL.
 */
static const char *
scan_value(const char *p, char *out)
{
	bool quoted = (*p == '\'');

	if (quoted)
		p++;
	while (*p && (quoted || !isspace((unsigned char) *p)))
	{
		if (quoted && *p == '\'')
		{
			if (p[1] != '\'')
				break;
			p++;
		}
		*out++ = *p++;
	}
	*out = '\0';
	if (!quoted)
		return p;
	return (*p == '\'') ? p + 1 : NULL;
}

/*
 * Parses name=value name='other value'. Returns NULL and a message in error
 * (of OUTBOX_PROPERTY_ERROR_MAX bytes) if the text is malformed or sets what
 * may not be set, or what is a secret.
 */
OutboxProperties *
outbox_properties_parse(const OutboxSinkKind *kind, const char *text,
						char *error)
{
	OutboxProperties *properties = palloc0(sizeof(OutboxProperties));
	char *name = palloc(strlen(text) + 1);
	char *value = palloc(strlen(text) + 1);
	const char *p = text;
	bool ok = true;

	properties->kind = kind;
	while (ok)
	{
		int len = 0;

		while (isspace((unsigned char) *p))
			p++;
		if (*p == '\0')
			break;

		while (*p && *p != '=' && !isspace((unsigned char) *p))
			name[len++] = *p++;
		name[len] = '\0';
		if (*p != '=' || len == 0)
		{
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Properties must be written as name=value, separated "
					 "by spaces (character %d).",
					 (int) (p - text) + 1);
			ok = false;
			break;
		}

		p = scan_value(p + 1, value);
		if (p == NULL)
		{
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "The value of property \"%s\" has no closing quote.",
					 name);
			ok = false;
			break;
		}
		ok = add_property(properties, name, value, error);
		/* the server writes changed settings into its log */
		if (ok && kind->property_is_secret(name, value))
		{
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Property \"%s\" holds a secret: write it into %s.", name,
					 kind->secrets_file);
			ok = false;
		}
	}

	pfree(name);
	pfree(value);
	if (ok)
		return properties;
	outbox_properties_free(properties);
	return NULL;
}

/* Adds one line of a file; blank lines and # comments add nothing. */
static bool
add_line(OutboxProperties *properties, char *line, int number, char *error)
{
	char *name = line;
	char *value;
	char *end = line + strlen(line);

	while (end > line && isspace((unsigned char) end[-1]))
		*--end = '\0';
	while (isspace((unsigned char) *name))
		name++;
	if (*name == '\0' || *name == '#')
		return true;

	value = strchr(name, '=');
	if (value == NULL || value == name)
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Line %d of the file is not name=value.", number);
		return false;
	}
	for (end = value; end > name && isspace((unsigned char) end[-1]);)
		end--;
	*value++ = '\0';
	*end = '\0';
	while (isspace((unsigned char) *value))
		value++;
	return add_property(properties, name, value, error);
}

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

/* Reads all of a file into text, of FILE_BYTES_MAX + 1 bytes. */
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
		return true;
	snprintf(error, OUTBOX_PROPERTY_ERROR_MAX, "File \"%s\" is not a text.",
			 path);
	return false;
}

static bool
add_lines(OutboxProperties *properties, char *text, char *error)
{
	int number = 0;

	while (text != NULL && *text != '\0')
	{
		char *line = strsep(&text, "\n");

		if (!add_line(properties, line, ++number, error))
			return false;
	}
	return true;
}

/*
 * Adds the properties of a file, one name=value a line. Returns false and a
 * message in error if that is not possible; some may have been added then.
 */
bool
outbox_properties_read_file(const char *path, OutboxProperties *properties,
							char *error)
{
	/* a pipe would have us wait for somebody who writes to it */
	int fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	char *text;
	bool ok;

	if (fd < 0)
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Could not open file \"%s\": %s.", path, strerror(errno));
		return false;
	}
	text = palloc(FILE_BYTES_MAX + 1);
	ok = check_file(fd, path, error) && read_text(fd, path, text, error);
	CloseTransientFile(fd);
	ok = ok && add_lines(properties, text, error);
	explicit_bzero(text, FILE_BYTES_MAX + 1);
	pfree(text);
	return ok;
}

/* Are the same properties set to the same values, in the same order? */
bool
outbox_properties_equal(const OutboxProperties *a, const OutboxProperties *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
	{
		if (strcmp(a->items[i].name, b->items[i].name) != 0 ||
			strcmp(a->items[i].value, b->items[i].value) != 0)
			return false;
	}
	return true;
}

/* The values may be secrets: nothing of them is left in memory that is given
 * back, and later in a core dump, or another user's chunk. */
void
outbox_properties_wipe(OutboxProperties *properties)
{
	for (int i = 0; i < properties->count; i++)
		explicit_bzero(properties->items[i].value,
					   strlen(properties->items[i].value));
}

void
outbox_properties_free(OutboxProperties *properties)
{
	outbox_properties_wipe(properties);
	for (int i = 0; i < properties->count; i++)
	{
		pfree(properties->items[i].name);
		pfree(properties->items[i].value);
	}
	if (properties->items)
		pfree(properties->items);
	pfree(properties);
}
