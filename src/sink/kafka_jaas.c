/*-------------------------------------------------------------------------
 *
 * kafka_jaas.c
 *	  What sasl.jaas.config of Kafka's Java clients means for librdkafka:
 *
 *		  org.apache.kafka.common.security.scram.ScramLoginModule required
 *			  username="alice" password="secret";
 *
 *	  Its words are those of java.io.StreamTokenizer.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <ctype.h>

#include "sink/kafka_jaas.h"

typedef struct Option
{
	const char *java;
	const char *ours;
} Option;

typedef struct Module
{
	const char *name;
	const char *instead; /* what else to write; NULL = it is known */
	const Option *options;
} Module;

static const Option passwords[] = {
	{"username", "sasl.username"},
	{"password", "sasl.password"},
	{NULL, NULL},
};

static const Option tokens[] = {
	{"clientId", "sasl.oauthbearer.client.id"},
	{"clientSecret", "sasl.oauthbearer.client.secret"},
	{"scope", "sasl.oauthbearer.scope"},
	{NULL, NULL},
};

static const Module modules[] = {
	{"org.apache.kafka.common.security.plain.PlainLoginModule", NULL,
	 passwords},
	{"org.apache.kafka.common.security.scram.ScramLoginModule", NULL,
	 passwords},
	{"org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
	 NULL, tokens},
	{"com.sun.security.auth.module.Krb5LoginModule",
	 "write sasl.kerberos.keytab and sasl.kerberos.principal instead", NULL},
};

/*
 * Takes the next word, in quotes or not, or a character such as = or ; into
 * out, which is as long as the text. Returns where it ends; out is empty at the
 * end of the text, and if a quote is not closed.
 */
static const char *
take_token(const char *p, char *out)
{
	char *begin = out;

	while (isspace((unsigned char) *p))
		p++;
	if (*p == '"' || *p == '\'')
	{
		char quote = *p++;

		while (*p != '\0' && *p != quote)
		{
			if (*p == '\\' && p[1] != '\0')
				p++;
			*out++ = *p++;
		}
		if (*p == '\0')
			out = begin;
		else
			p++;
	}
	else if (*p != '\0')
	{
		do
			*out++ = *p++;
		while (*p != '\0' && strchr("=;\"'", *p) == NULL &&
			   strchr("=;", out[-1]) == NULL && !isspace((unsigned char) *p));
	}
	*out = '\0';
	return p;
}

static bool
refuse(char *error, const char *why)
{
	snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
			 "Property \"sasl.jaas.config\" %s.", why);
	return false;
}

/* An option of a module; its value is in hand. */
static bool
add_option(OutboxProperties *properties, const Module *module,
		   const char *name, const char *value, char *error)
{
	for (const Option *option = module->options; option->java; option++)
	{
		if (strcmp(option->java, name) == 0)
			return outbox_properties_add(properties, option->ours, value,
										 error);
	}
	snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
			 "Property \"sasl.jaas.config\" has an option \"%s\" that "
			 "librdkafka does not know.",
			 name);
	return false;
}

static const Module *
find_module(const char *name)
{
	for (size_t i = 0; i < lengthof(modules); i++)
	{
		if (strcmp(modules[i].name, name) == 0)
			return &modules[i];
	}
	return NULL;
}

/* Reads it, with room for a name and a value. */
static bool
parse(OutboxProperties *properties, const char *p, char *name, char *value,
	  char *error)
{
	const Module *module;

	p = take_token(p, name);
	module = find_module(name);
	if (module == NULL)
		return refuse(error, "names a login module that librdkafka does not "
							 "know");
	if (module->instead != NULL)
		return refuse(error, module->instead);
	/* required, and the like: there is one module, so it makes no odds */
	p = take_token(p, name);
	for (;;)
	{
		p = take_token(p, name);
		if (strcmp(name, ";") == 0)
			break;
		p = take_token(p, value);
		if (strcmp(value, "=") != 0)
			return refuse(error, "is not written as MODULE required "
								 "name=\"value\" ... ;");
		p = take_token(p, value);
		if (!add_option(properties, module, name, value, error))
			return false;
	}
	take_token(p, name);
	if (name[0] != '\0')
		return refuse(error, "has more than one login module");
	return true;
}

/*
 * Adds what it means to properties. False and a message in error (of
 * OUTBOX_PROPERTY_ERROR_MAX bytes) if it has no such meaning.
 */
bool
outbox_kafka_jaas(OutboxProperties *properties, const char *text, char *error)
{
	size_t size = strlen(text) + 1;
	char *name = palloc(size);
	char *value = palloc(size);
	bool ok = parse(properties, text, name, value, error);

	explicit_bzero(name, size);
	explicit_bzero(value, size);
	pfree(name);
	pfree(value);
	return ok;
}
