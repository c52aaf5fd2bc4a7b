/*-------------------------------------------------------------------------
 *
 * kafka_client_file.c
 *	  What the properties of Kafka's Java clients mean for librdkafka. Most
 *	  have the same name there; a few have another one, or another value, and
 *	  some mean nothing outside of Java: these are refused, with what to write
 *	  instead. Those that only librdkafka knows can be in such a file, too.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "sink/kafka_client_file.h"
#include "sink/kafka_jaas.h"

typedef struct Translation
{
	const OutboxProperties *file;
	OutboxProperties *properties;
	char **servers;
	char *error;
} Translation;

/* Adds what a property of that name and value means; false with a message. */
typedef bool (*Handler)(const Translation *t, const char *name,
						const char *value);

typedef struct Special
{
	const char *name;
	Handler handler;
	const char *other; /* for the handler: another name, or what to do */
} Special;

static const Special *find_special(const char *name);

static bool
add(const Translation *t, const char *name, const char *value)
{
	return outbox_properties_add(t->properties, name, value, t->error);
}

/* What the file has for another property; "" if nothing */
static const char *
other_value(const Translation *t, const char *name)
{
	const char *value = "";

	/* of several, the last one counts */
	for (int i = 0; i < t->file->count; i++)
	{
		if (strcmp(t->file->items[i].name, name) == 0)
			value = t->file->items[i].value;
	}
	return value;
}

static bool
take_servers(const Translation *t, const char *name, const char *value)
{
	(void) name;
	if (*t->servers != NULL)
		pfree(*t->servers);
	*t->servers = pstrdup(value);
	return true;
}

/* It has another name in librdkafka. */
static bool
rename_it(const Translation *t, const char *name, const char *value)
{
	return add(t, find_special(name)->other, value);
}

/* The same, and what the system has is written as 0. */
static bool
rename_size(const Translation *t, const char *name, const char *value)
{
	return rename_it(t, name, strcmp(value, "-1") == 0 ? "0" : value);
}

/* It means nothing there. */
static bool
refuse(const Translation *t, const char *name, const char *value)
{
	(void) value;
	snprintf(t->error, OUTBOX_PROPERTY_ERROR_MAX,
			 "Property \"%s\" is one of Java's clients: %s.", name,
			 find_special(name)->other);
	return false;
}

/* Another property says what it means. */
static bool
leave_out(const Translation *t, const char *name, const char *value)
{
	(void) t;
	(void) name;
	(void) value;
	return true;
}

static bool
take_acks(const Translation *t, const char *name, const char *value)
{
	return add(t, name, strcmp(value, "-1") == 0 ? "all" : value);
}

static bool
take_host_check(const Translation *t, const char *name, const char *value)
{
	return add(t, name, value[0] == '\0' ? "none" : value);
}

static bool
take_truststore(const Translation *t, const char *name, const char *value)
{
	if (strcmp(other_value(t, "ssl.truststore.type"), "PEM") != 0)
		return refuse(t, name, value);
	return add(t, "ssl.ca.location", value);
}

static bool
take_keystore(const Translation *t, const char *name, const char *value)
{
	const char *type = other_value(t, "ssl.keystore.type");

	/* certificates and key are in one file */
	if (strcmp(type, "PEM") == 0)
		return add(t, "ssl.certificate.location", value) &&
			   add(t, "ssl.key.location", value);
	if (type[0] != '\0' && strcmp(type, "PKCS12") != 0)
		return refuse(t, name, value);
	return add(t, name, value);
}

static bool
take_jaas(const Translation *t, const char *name, const char *value)
{
	(void) name;
	return outbox_kafka_jaas(t->properties, value, t->error);
}

/* The class that fetches a token has had two names. */
static bool
take_login_handler(const Translation *t, const char *name, const char *value)
{
	static const char *const classes[] = {
		"org.apache.kafka.common.security.oauthbearer."
		"OAuthBearerLoginCallbackHandler",
		"org.apache.kafka.common.security.oauthbearer.secured."
		"OAuthBearerLoginCallbackHandler",
	};

	for (size_t i = 0; i < lengthof(classes); i++)
	{
		if (strcmp(value, classes[i]) == 0)
			return add(t, "sasl.oauthbearer.method", "oidc");
	}
	return refuse(t, name, value);
}

#define WHY_BYTES     "leave it out, as events are bytes already"
#define WHY_CLASS     "leave it out, as its classes are not there"
#define WHY_METRICS   "leave it out, and see outbox.stat_relay"
#define WHY_OPENSSL   "leave it out, as OpenSSL's configuration has it"
#define WHY_PARTITION "write partitioner, with a value of librdkafka"
#define WHY_TRUST                                                \
	"write the certificates as PEM into a file, and name it in " \
	"ssl.ca.location, or let ssl.truststore.type be PEM"
#define WHY_KEYS                                                          \
	"convert it with keytool -importkeystore -deststoretype PKCS12, and " \
	"let ssl.keystore.type be PKCS12"

static const Special specials[] = {
	{"acks", take_acks, NULL},
	{"auto.include.jmx.reporter", refuse, WHY_METRICS},
	{"bootstrap.servers", take_servers, NULL},
	{"buffer.memory", refuse, "set outbox.window_size"},
	{"config.providers", refuse, "write the values themselves"},
	{"interceptor.classes", refuse, WHY_CLASS},
	{"key.deserializer", refuse, WHY_BYTES},
	{"key.serializer", refuse, WHY_BYTES},
	{"max.block.ms", refuse, "leave it out, as nothing blocks"},
	{"max.request.size", refuse,
	 "set outbox.max_event_size for events, and write batch.size for what is "
	 "sent at once"},
	{"metric.reporters", refuse, WHY_METRICS},
	{"metrics.num.samples", refuse, WHY_METRICS},
	{"metrics.recording.level", refuse, WHY_METRICS},
	{"metrics.sample.window.ms", refuse, WHY_METRICS},
	{"partitioner.adaptive.partitioning.enable", refuse, WHY_PARTITION},
	{"partitioner.availability.timeout.ms", refuse, WHY_PARTITION},
	{"partitioner.class", refuse, WHY_PARTITION},
	{"partitioner.ignore.keys", refuse, WHY_PARTITION},
	{"receive.buffer.bytes", rename_size, "socket.receive.buffer.bytes"},
	{"sasl.client.callback.handler.class", refuse, WHY_CLASS},
	{"sasl.jaas.config", take_jaas, NULL},
	{"sasl.login.callback.handler.class", take_login_handler, WHY_CLASS},
	{"sasl.login.class", refuse, WHY_CLASS},
	{"security.providers", refuse, WHY_CLASS},
	{"send.buffer.bytes", rename_size, "socket.send.buffer.bytes"},
	{"ssl.enabled.protocols", refuse, WHY_OPENSSL},
	{"ssl.endpoint.identification.algorithm", take_host_check, NULL},
	{"ssl.engine.factory.class", refuse, WHY_CLASS},
	{"ssl.keymanager.algorithm", refuse, WHY_OPENSSL},
	{"ssl.keystore.certificate.chain", rename_it, "ssl.certificate.pem"},
	{"ssl.keystore.key", rename_it, "ssl.key.pem"},
	{"ssl.keystore.location", take_keystore, WHY_KEYS},
	{"ssl.keystore.type", leave_out, NULL},
	{"ssl.protocol", refuse, WHY_OPENSSL},
	{"ssl.provider", refuse, WHY_OPENSSL},
	{"ssl.secure.random.implementation", refuse, WHY_OPENSSL},
	{"ssl.trustmanager.algorithm", refuse, WHY_OPENSSL},
	{"ssl.truststore.certificates", rename_it, "ssl.ca.pem"},
	{"ssl.truststore.location", take_truststore, WHY_TRUST},
	{"ssl.truststore.password", refuse, WHY_TRUST},
	{"ssl.truststore.type", leave_out, NULL},
	{"value.deserializer", refuse, WHY_BYTES},
	{"value.serializer", refuse, WHY_BYTES},
};

static const Special *
find_special(const char *name)
{
	for (size_t i = 0; i < lengthof(specials); i++)
	{
		if (strcmp(specials[i].name, name) == 0)
			return &specials[i];
	}
	return NULL;
}

/* See kind.h. */
bool
outbox_kafka_client_file(const OutboxProperties *file,
						 OutboxProperties *properties, char **servers,
						 char *error)
{
	Translation t = {file, properties, servers, error};

	for (int i = 0; i < file->count; i++)
	{
		const OutboxProperty *property = &file->items[i];
		const Special *special = find_special(property->name);
		Handler take = special ? special->handler : add;

		if (!take(&t, property->name, property->value))
			return false;
	}
	return true;
}
