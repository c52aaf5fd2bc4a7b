/*-------------------------------------------------------------------------
 *
 * uri.c
 *	  URI references (RFC 3986), as far as consumers can be expected to look:
 *	  their characters, and what a scheme is.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <ctype.h>

#include "lib/stringinfo.h"

#include "uri.h"

/* what stands for itself wherever it is, beside letters and digits */
#define UNRESERVED "-._~"
/* what has a meaning, or may have one */
#define RESERVED   ":/?#[]@!$&'()*+,;="

/* isalpha() and isalnum() may know letters that are not in ASCII */
static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_one_of(char c, const char *others)
{
	return is_letter(c) || (c >= '0' && c <= '9') ||
		   (c != '\0' && strchr(others, c) != NULL);
}

/* A colon in the first part of a path ends a scheme, and what is before it must
 * be one. */
static bool
has_good_scheme(const char *text, int bytes)
{
	int length = 0;

	while (length < bytes && memchr(":/?#", text[length], 4) == NULL)
		length++;
	if (length == bytes || text[length] != ':')
		return true;
	if (length == 0 || !is_letter(text[0]))
		return false;
	for (int i = 1; i < length; i++)
	{
		if (!is_one_of(text[i], "+-."))
			return false;
	}
	return true;
}

/* Is that a URI, or a reference to one, such as "/orders"? */
bool
outbox_uri_is_reference(const char *text, int bytes)
{
	bool in_fragment = false;

	if (bytes == 0 || !has_good_scheme(text, bytes))
		return false;
	for (int i = 0; i < bytes; i++)
	{
		if (text[i] == '%')
		{
			if (bytes - i < 3 || !isxdigit((unsigned char) text[i + 1]) ||
				!isxdigit((unsigned char) text[i + 2]))
				return false;
		}
		else if (!is_one_of(text[i], UNRESERVED RESERVED) ||
				 (text[i] == '#' && in_fragment))
			return false;
		if (text[i] == '#')
			in_fragment = true;
	}
	return true;
}

/* A name as a path of its own, palloc'd: "/name", with what a URI cannot have
 * written as %XX. */
char *
outbox_uri_from_name(const char *name)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfoChar(&path, '/');
	for (const char *c = name; *c != '\0'; c++)
	{
		if (is_one_of(*c, UNRESERVED))
			appendStringInfoChar(&path, *c);
		else
			appendStringInfo(&path, "%%%02X", (unsigned char) *c);
	}
	return path.data;
}
