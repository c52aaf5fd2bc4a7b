/*-------------------------------------------------------------------------
 *
 * properties.c
 *	  Reads outbox.kafka_properties and outbox.kafka_properties_file, and
 *	  refuses by name what would break a promise or load code. The library
 *	  itself refuses what it does not know, when the relay opens it.
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
#include <sys/stat.h>
#include <unistd.h>

#include "properties.h"
#include "storage/fd.h"

/* A property that may not be set, or only to the value that we need. */
typedef struct Refusal
{
	const char *name;
	const char *allowed; /* NULL = no value is; "!x" = all but x are */
	const char *why;
} Refusal;

#define WHY_ORDER  "outbox guarantees order and delivery by its own value"
#define WHY_CODE   "it would load code or run a command in the server"
#define WHY_INSIDE "outbox uses it itself"
#define WHY_GUC    "use outbox.bootstrap_servers"
#define WHY_WINDOW "use outbox.window_events and outbox.window_size"

static const Refusal refusals[] = {
	{"acks", "all", WHY_ORDER},
	{"background_event_cb", NULL, WHY_INSIDE},
	{"bootstrap.servers", NULL, WHY_GUC},
	{"closesocket_cb", NULL, WHY_INSIDE},
	{"connect_cb", NULL, WHY_INSIDE},
	{"consume_cb", NULL, WHY_INSIDE},
	{"default_topic_conf", NULL, WHY_INSIDE},
	{"delivery.report.only.error", "false", WHY_ORDER},
	{"delivery.timeout.ms", "0", WHY_ORDER},
	{"dr_cb", NULL, WHY_INSIDE},
	{"dr_msg_cb", NULL, WHY_INSIDE},
	{"enable.gapless.guarantee", NULL, WHY_ORDER},
	{"enable.idempotence", "true", WHY_ORDER},
	{"enabled_events", NULL, WHY_INSIDE},
	{"error_cb", NULL, WHY_INSIDE},
	{"interceptors", NULL, WHY_CODE},
	{"internal.termination.signal", NULL, WHY_CODE},
	{"log.queue", NULL, WHY_INSIDE},
	{"log_cb", NULL, WHY_INSIDE},
	{"message.send.max.retries", NULL, WHY_ORDER},
	{"message.timeout.ms", "0", WHY_ORDER},
	{"metadata.broker.list", NULL, WHY_GUC},
	{"msg_order_cmp", NULL, WHY_ORDER},
	{"oauthbearer_token_refresh_cb", NULL, WHY_INSIDE},
	{"opaque", NULL, WHY_INSIDE},
	{"open_cb", NULL, WHY_INSIDE},
	{"partitioner", "!random", WHY_ORDER},
	{"partitioner_cb", NULL, WHY_INSIDE},
	{"plugin.library.paths", NULL, WHY_CODE},
	{"produce.offset.report", NULL, WHY_INSIDE},
	{"queue.buffering.max.kbytes", NULL, WHY_WINDOW},
	{"queue.buffering.max.messages", NULL, WHY_WINDOW},
	{"queuing.strategy", "fifo", WHY_ORDER},
	{"rebalance_cb", NULL, WHY_INSIDE},
	{"request.required.acks", "all", WHY_ORDER},
	{"resolve_cb", NULL, WHY_INSIDE},
	{"retries", NULL, WHY_ORDER},
	{"sasl.kerberos.kinit.cmd", NULL, WHY_CODE},
	{"socket_cb", NULL, WHY_INSIDE},
	{"ssl.engine.location", NULL, WHY_CODE},
	{"ssl.providers", NULL, WHY_CODE},
	{"ssl_engine_callback_data", NULL, WHY_INSIDE},
	{"statistics.interval.ms", NULL, WHY_INSIDE},
	{"stats_cb", NULL, WHY_INSIDE},
	{"test.mock.broker.rtt", NULL, WHY_INSIDE},
	{"test.mock.num.brokers", NULL, WHY_INSIDE},
	{"throttle_cb", NULL, WHY_INSIDE},
	{"topic.blacklist", NULL, WHY_ORDER},
	{"transaction.timeout.ms", NULL, WHY_INSIDE},
	{"transactional.id", NULL, WHY_INSIDE},
};

/* Names of properties that hold a secret have one of these words. */
static bool
is_secret(const char *name)
{
	static const char *const words[] = {
		"password", "secret", "pem", "token", "jaas", "oauthbearer.config",
	};

	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (strcasestr(name, words[i]) != NULL)
			return true;
	}
	return false;
}

static bool
is_refused(const char *name, const char *value, char *error)
{
	for (size_t i = 0; i < lengthof(refusals); i++)
	{
		const Refusal *refusal = &refusals[i];

		if (pg_strcasecmp(name, refusal->name) != 0)
			continue;
		if (refusal->allowed && refusal->allowed[0] == '!')
		{
			if (strcmp(value, refusal->allowed + 1) != 0)
				return false;
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Property \"%s\" cannot be \"%s\": %s.", name, value,
					 refusal->why);
		}
		else if (refusal->allowed)
		{
			if (strcmp(value, refusal->allowed) == 0)
				return false;
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Property \"%s\" can only be \"%s\": %s.", name,
					 refusal->allowed, refusal->why);
		}
		else
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Property \"%s\" cannot be set: %s.", name, refusal->why);
		return true;
	}
	return false;
}

/*
 * librdkafka writes these into the command that fetches a Kerberos ticket,
 * and has a shell run it: they must not get out of their word there.
 */
static bool
breaks_command(const char *name, const char *value, char *error)
{
	static const char *const names[] = {
		"sasl.kerberos.keytab",
		"sasl.kerberos.principal",
		"sasl.kerberos.service.name",
	};
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
								  "abcdefghijklmnopqrstuvwxyz"
								  "0123456789._/@:-";

	for (size_t i = 0; i < lengthof(names); i++)
	{
		if (pg_strcasecmp(name, names[i]) != 0 ||
			(value[0] != '-' && value[strspn(value, allowed)] == '\0'))
			continue;
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Property \"%s\" becomes part of a command: use only "
				 "letters, digits and ._/@:- there, and no - in front.",
				 name);
		return true;
	}
	return false;
}

/* Adds a property; false with a message if it may not be set. */
static bool
add_property(OutboxProperties *properties, const char *name, const char *value,
			 char *error)
{
	if (is_refused(name, value, error) || breaks_command(name, value, error))
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
	properties->items[properties->count].secret = is_secret(name);
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
 * may not be set.
 */
OutboxProperties *
outbox_properties_parse(const char *text, char *error)
{
	OutboxProperties *properties = palloc0(sizeof(OutboxProperties));
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
		ok = add_property(properties, name, value, error);
		/* the server writes changed settings into its log */
		if (ok && is_secret(name))
		{
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Property \"%s\" holds a secret: write it into "
					 "outbox.kafka_properties_file.",
					 name);
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
check_file(FILE *file, const char *path, char *error)
{
	struct stat st;

	if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode))
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

/*
 * Adds the properties of a file, one name=value a line. Returns false and a
 * message in error if that is not possible; some may have been added then.
 */
bool
outbox_properties_read_file(const char *path, OutboxProperties *properties,
							char *error)
{
	FILE *file = AllocateFile(path, "r");
	char line[8192];
	int number = 0;
	bool ok;

	if (file == NULL)
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Could not open file \"%s\": %s.", path, strerror(errno));
		return false;
	}

	ok = check_file(file, path, error);
	while (ok && fgets(line, sizeof(line), file) != NULL)
	{
		number++;
		if (strlen(line) == sizeof(line) - 1)
		{
			snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
					 "Line %d of the file is too long.", number);
			ok = false;
		}
		else
			ok = add_line(properties, line, number, error);
	}
	if (ok && ferror(file))
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Could not read file \"%s\": %s.", path, strerror(errno));
		ok = false;
	}
	explicit_bzero(line, sizeof(line));
	FreeFile(file);
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

void
outbox_properties_free(OutboxProperties *properties)
{
	for (int i = 0; i < properties->count; i++)
	{
		pfree(properties->items[i].name);
		pfree(properties->items[i].value);
	}
	if (properties->items)
		pfree(properties->items);
	pfree(properties);
}
