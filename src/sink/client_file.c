/*-------------------------------------------------------------------------
 *
 * client_file.c
 *	  Reads a file of properties as the broker's own clients have it, which
 *	  are written in Java: one name=value a line, with all that
 *	  java.util.Properties allows. Names may end with blanks, : or = ; a line
 *	  that ends with a backslash goes on in the next one; \t, \n, \r, \f and
 *	  \uXXXX are characters, and any other one after a backslash is itself;
 *	  lines that begin with # or ! are comments.
 *
 * In two points it is read otherwise: the text is UTF-8, and blanks at the end
 * of a value are none of it, unless a backslash is before them.
 *
 * Nothing here raises an error, as in properties.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

#include "sink/client_file.h"
#include "sink/secret_file.h"

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f';
}

static const char *
skip_blanks(const char *p)
{
	while (is_blank(*p))
		p++;
	return p;
}

/* Is the character at the end of a text, which begins there, escaped? */
static bool
is_escaped(const char *begin, const char *at)
{
	bool escaped = false;

	while (at > begin && *--at == '\\')
		escaped = !escaped;
	return escaped;
}

/*
 * Copies a line and those that it goes on in, which makes nothing of a comment.
 * Returns where the next one begins; lines becomes how many they were.
 */
static const char *
take_line(const char *p, char *out, int *lines)
{
	const char *begin = out;
	bool goes_on = true;

	for (*lines = 0; goes_on && *p != '\0'; (*lines)++)
	{
		size_t len;

		p = skip_blanks(p);
		len = strcspn(p, "\r\n");
		/* a comment does not go on */
		if (*lines > 0 || (*p != '#' && *p != '!'))
		{
			memcpy(out, p, len);
			out += len;
		}
		p += len;
		if (p[0] == '\r' && p[1] == '\n')
			p++;
		if (*p != '\0')
			p++;
		goes_on = is_escaped(begin, out);
		if (goes_on)
			out--;
	}
	while (out > begin && is_blank(out[-1]) && !is_escaped(begin, out - 1))
		out--;
	*out = '\0';
	return p;
}

/* Takes \uXXXX, p being behind the u; NULL if it is no character. */
static const char *
take_unicode(const char *p, char **out)
{
	unsigned char utf8[4];
	pg_wchar c = 0;

	for (int i = 0; i < 4; i++, p++)
	{
		char digit = pg_tolower((unsigned char) *p);

		if (!isxdigit((unsigned char) digit))
			return NULL;
		c = c * 16 +
			(isdigit((unsigned char) digit) ? digit - '0' : digit - 'a' + 10);
	}
	if (c == 0 || (c >= 0xD800 && c <= 0xDFFF))
		return NULL;
	unicode_to_utf8(c, utf8);
	memcpy(*out, utf8, pg_utf_mblen(utf8));
	*out += pg_utf_mblen(utf8);
	return p;
}

/* Takes a name or a value, up to one of the characters in ends that is not
 * escaped. Returns where it ends, or NULL. */
static const char *
take_word(const char *p, const char *ends, char *out)
{
	static const char codes[] = "tnrf";
	static const char characters[] = "\t\n\r\f";

	while (p != NULL && *p != '\0' && strchr(ends, *p) == NULL)
	{
		const char *code;

		if (*p != '\\' || p[1] == '\0')
			*out++ = *p++;
		else if (p[1] == 'u')
			p = take_unicode(p + 2, &out);
		else
		{
			code = strchr(codes, p[1]);
			*out++ = code ? characters[code - codes] : p[1];
			p += 2;
		}
	}
	*out = '\0';
	return p;
}

/* Adds the property of a line; false with a message if there is none. */
static bool
add_line(OutboxProperties *file, const char *line, int number, char *error)
{
	char *name = palloc(strlen(line) + 1);
	char *value = palloc(strlen(line) + 1);
	const char *p = take_word(line, "=: \t\f", name);
	const char *why = NULL;

	if (p == NULL)
		why = "has a \\u that is not followed by the four digits of a "
			  "character; write it as UTF-8";
	else if (*p == '\0' || name[0] == '\0')
		why = "is not name=value";
	else
	{
		p = skip_blanks(p);
		if (*p == '=' || *p == ':')
			p = skip_blanks(p + 1);
		if (take_word(p, "", value) == NULL)
			why = "has a \\u that is not followed by the four digits of a "
				  "character; write it as UTF-8";
		else
			outbox_properties_append(file, name, value);
	}
	if (why != NULL)
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX, "Line %d of the file %s.",
				 number, why);
	explicit_bzero(value, strlen(line) + 1);
	pfree(name);
	pfree(value);
	return why == NULL;
}

/* Reads all lines of a text. */
static bool
add_lines(OutboxProperties *file, const char *text, char *error)
{
	size_t size = strlen(text) + 1;
	char *line = palloc(size);
	bool ok = true;
	int number = 1;

	while (ok && *text != '\0')
	{
		int lines;

		text = take_line(text, line, &lines);
		if (line[0] != '\0')
			ok = add_line(file, line, number, error);
		number += lines;
	}
	explicit_bzero(line, size);
	pfree(line);
	return ok;
}

/*
 * Adds what a file means for the client library to properties; servers becomes
 * the addresses in it. Returns false and a message in error (of
 * OUTBOX_PROPERTY_ERROR_MAX bytes) if that is not possible; some may have been
 * added then.
 */
bool
outbox_client_file_read(const char *path, OutboxProperties *properties,
						char **servers, char *error)
{
	char *text = outbox_secret_file_read(path, error);
	OutboxProperties *file;
	bool ok;

	*servers = NULL;
	if (text == NULL)
		return false;
	file = outbox_properties_new(properties->kind);
	ok = add_lines(file, text, error) &&
		 properties->kind->take_client_file(file, properties, servers, error);
	outbox_properties_free(file);
	outbox_secret_file_forget(text);
	return ok;
}
