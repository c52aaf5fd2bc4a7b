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

#include "sink/properties.h"
#include "sink/secret_file.h"

/* shorter secrets are not looked for in messages */
#define SECRET_MIN 4

/* An empty list */
OutboxProperties *
outbox_properties_new(const OutboxSinkKind *kind)
{
	OutboxProperties *properties = palloc0(sizeof(OutboxProperties));

	properties->kind = kind;
	return properties;
}

/* Adds a property, whatever it is. */
void
outbox_properties_append(OutboxProperties *properties, const char *name,
						 const char *value)
{
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
}

/* Adds a property; false with a message if it may not be set. */
bool
outbox_properties_add(OutboxProperties *properties, const char *name,
					  const char *value, char *error)
{
	if (properties->kind->property_is_forbidden(name, value, error))
		return false;
	outbox_properties_append(properties, name, value);
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
	OutboxProperties *properties = outbox_properties_new(kind);
	char *name = palloc(strlen(text) + 1);
	char *value = palloc(strlen(text) + 1);
	const char *p = text;
	bool ok = true;

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
		ok = outbox_properties_add(properties, name, value, error);
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
	return outbox_properties_add(properties, name, value, error);
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
	char *text = outbox_secret_file_read(path, error);
	bool ok;

	if (text == NULL)
		return false;
	ok = add_lines(properties, text, error);
	outbox_secret_file_forget(text);
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

/*
 * Where a text has the value of one of the properties that are secrets; NULL =
 * nowhere. Values so short that any text may have them do not count.
 */
const char *
outbox_properties_find_secret(const OutboxProperties *properties,
							  const char *text)
{
	const char *first = NULL;

	for (int i = 0; i < properties->count; i++)
	{
		const OutboxProperty *property = &properties->items[i];
		const char *found = NULL;

		if (property->secret && strlen(property->value) >= SECRET_MIN)
			found = strstr(text, property->value);
		if (found != NULL && (first == NULL || found < first))
			first = found;
	}
	return first;
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
