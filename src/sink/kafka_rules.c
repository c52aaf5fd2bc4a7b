/*-------------------------------------------------------------------------
 *
 * kafka_rules.c
 *	  What every process knows of Kafka: the names of topics, which properties
 *	  of librdkafka may not be set, because they would break a promise, load
 *	  code or run a command, and which hold secrets, which everybody who reads
 *	  settings would see, or name files. All else of it is in outbox_kafka.so.
 *
 * Names of properties are compared as librdkafka takes them: "topic." in front
 * of one means the same. The lists follow librdkafka's CONFIGURATION.md, 2.0 to
 * 2.15, and the hidden properties in its rdkafka_conf.c. What is set in the end
 * is looked at again in kafka/settings.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "sink/kafka_client_file.h"
#include "sink/kafka_rules.h"

#define TOPIC_MAX 249

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
#define WHY_OFFSET \
	"subscriptions guarantee by their own value that nothing is missed"
#define WHY_GROUP  "subscriptions are members of no group"
#define WHY_WINDOW "use outbox.window_events and outbox.window_size"

static const Refusal refusals[] = {
	{"acks", "all", WHY_ORDER},
	{"allow.auto.create.topics", "false", "a subscription makes no topics"},
	{"auto.commit.enable", "false", WHY_OFFSET},
	{"auto.offset.reset", "error", WHY_OFFSET},
	{"background_event_cb", NULL, WHY_INSIDE},
	{"bootstrap.servers", NULL, WHY_GUC},
	{"check.crcs", "true", WHY_OFFSET},
	{"closesocket_cb", NULL, WHY_INSIDE},
	{"connect_cb", NULL, WHY_INSIDE},
	{"consume_cb", NULL, WHY_INSIDE},
	{"default_topic_conf", NULL, WHY_INSIDE},
	{"delivery.report.only.error", "false", WHY_ORDER},
	{"delivery.timeout.ms", "0", WHY_ORDER},
	{"dr_cb", NULL, WHY_INSIDE},
	{"dr_msg_cb", NULL, WHY_INSIDE},
	{"enable.auto.commit", "false", WHY_OFFSET},
	{"enable.auto.offset.store", "false", WHY_OFFSET},
	{"enable.gapless.guarantee", NULL, WHY_ORDER},
	{"enable.idempotence", "true", WHY_ORDER},
	{"enable.partition.eof", "true", WHY_INSIDE},
	{"enabled_events", NULL, WHY_INSIDE},
	{"error_cb", NULL, WHY_INSIDE},
	{"group.id", NULL, WHY_GROUP},
	{"group.instance.id", NULL, WHY_GROUP},
	{"interceptors", NULL, WHY_CODE},
	{"internal.termination.signal", NULL, WHY_CODE},
	{"isolation.level", "read_committed", WHY_OFFSET},
	{"log.queue", NULL, WHY_INSIDE},
	{"log_cb", NULL, WHY_INSIDE},
	{"message.send.max.retries", NULL, WHY_ORDER},
	{"message.timeout.ms", "0", WHY_ORDER},
	{"metadata.broker.list", NULL, WHY_GUC},
	{"msg_order_cmp", NULL, WHY_ORDER},
	{"oauthbearer_token_refresh_cb", NULL, WHY_INSIDE},
	{"offset_commit_cb", NULL, WHY_INSIDE},
	{"opaque", NULL, WHY_INSIDE},
	{"open_cb", NULL, WHY_INSIDE},
	{"partitioner", "!random", WHY_ORDER},
	{"partitioner_cb", NULL, WHY_INSIDE},
	{"plugin.library.paths", NULL, WHY_CODE},
	{"produce.offset.report", NULL, WHY_INSIDE},
	{"queue.buffering.max.kbytes", NULL, WHY_WINDOW},
	{"queue.buffering.max.messages", NULL, WHY_WINDOW},
	{"queued.max.messages.kbytes", NULL, WHY_INSIDE},
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

/* A name without what librdkafka strips from it */
static const char *
plain_name(const char *name)
{
	static const char prefix[] = "topic.";

	if (pg_strncasecmp(name, prefix, strlen(prefix)) == 0)
		return name + strlen(prefix);
	return name;
}

static bool
is_name(const char *name, const char *listed)
{
	return pg_strcasecmp(name, listed) == 0 ||
		   pg_strcasecmp(plain_name(name), listed) == 0;
}

/* Names that have one of the words, but for those of which it is known that
 * their values are harmless */
static bool
is_secret_name(const char *name)
{
	static const char *const words[] = {
		"assertion",  "credential", "jaas",   "oauthbearer.config",
		"passphrase", "password",   "passwd", "pem",
		"private",    "secret",     "token",
	};
	static const char *const harmless[] = {
		"https.ca.pem",
		"sasl.oauthbearer.assertion.algorithm",
		"sasl.oauthbearer.assertion.claim.aud",
		"sasl.oauthbearer.assertion.claim.exp.seconds",
		"sasl.oauthbearer.assertion.claim.iss",
		"sasl.oauthbearer.assertion.claim.jti.include",
		"sasl.oauthbearer.assertion.claim.nbf.seconds",
		"sasl.oauthbearer.assertion.claim.sub",
		"sasl.oauthbearer.assertion.file",
		"sasl.oauthbearer.assertion.jwt.template.file",
		"sasl.oauthbearer.assertion.private.key.file",
		"sasl.oauthbearer.client.credentials.client.id",
		"sasl.oauthbearer.token.endpoint.url",
		"ssl.ca.pem",
		"ssl.certificate.pem",
	};

	for (size_t i = 0; i < lengthof(harmless); i++)
	{
		if (is_name(name, harmless[i]))
			return false;
	}
	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (strcasestr(name, words[i]) != NULL)
			return true;
	}
	return false;
}

/* Does a value go on with the secret of another property? So it does where
 * commas or the like are taken for what separates properties. */
static bool
has_secret(const char *value)
{
	static const char separators[] = " \t,;";
	static const char ends[] = " \t,;=";
	char name[64];

	while (*(value += strcspn(value, separators)) != '\0')
	{
		size_t length;

		value += strspn(value, separators);
		length = strcspn(value, ends);
		if (value[length] != '=')
			continue;
		snprintf(name, sizeof(name), "%.*s", (int) length, value);
		if (is_secret_name(name))
			return true;
	}
	return false;
}

/* Must the value not be shown? That of a secret, or an address with a
 * password */
static bool
is_secret(const char *name, const char *value)
{
	const char *host = strstr(value, "://");

	if (host != NULL && host[3 + strcspn(host + 3, "/@?#")] == '@')
		return true;
	return is_secret_name(name) || has_secret(value);
}

static bool
is_refused(const char *name, const char *value, char *error)
{
	/* librdkafka would take the value for the address of a function */
	if (pg_strncasecmp(plain_name(name), "ut_", 3) == 0)
	{
		snprintf(error, OUTBOX_PROPERTY_ERROR_MAX,
				 "Property \"%s\" cannot be set: %s.", name, WHY_CODE);
		return true;
	}
	for (size_t i = 0; i < lengthof(refusals); i++)
	{
		const Refusal *refusal = &refusals[i];

		if (!is_name(name, refusal->name))
			continue;
		if (refusal->allowed && refusal->allowed[0] == '!')
		{
			if (pg_strcasecmp(value, refusal->allowed + 1) != 0)
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
		if (!is_name(name, names[i]) ||
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

static bool
is_forbidden(const char *name, const char *value, char *error)
{
	return is_refused(name, value, error) ||
		   breaks_command(name, value, error);
}

/*
 * Does the value name a file or a directory that the library reads once, when
 * it is opened? "probe" has it look for one by itself.
 */
static bool
is_file(const char *name, const char *value)
{
	static const char *const names[] = {
		"https.ca.location",
		"sasl.kerberos.keytab",
		"sasl.oauthbearer.assertion.file",
		"sasl.oauthbearer.assertion.jwt.template.file",
		"sasl.oauthbearer.assertion.private.key.file",
		"ssl.ca.location",
		"ssl.certificate.location",
		"ssl.crl.location",
		"ssl.key.location",
		"ssl.keystore.location",
	};

	if (value[0] == '\0' || strcmp(value, "probe") == 0)
		return false;
	for (size_t i = 0; i < lengthof(names); i++)
	{
		if (is_name(name, names[i]))
			return true;
	}
	return false;
}

/*
 * The rules of org.apache.kafka.common.internals.Topic: 1 to 249 characters of
 * [a-zA-Z0-9._-], and neither "." nor "..".
 */
static void
check_topic(const char *topic, int bytes)
{
	if (bytes > TOPIC_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("topic is too long"),
						errdetail("It has %d bytes; Kafka allows %d.", bytes,
								  TOPIC_MAX),
						errhint("Use a shorter topic name.")));
	for (int i = 0; i < bytes; i++)
	{
		char c = topic[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			  (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("topic \"%s\" has an illegal character",
							pnstrdup(topic, bytes)),
					 errhint("Kafka allows letters and digits of ASCII, "
							 "\".\", \"_\" and \"-\".")));
	}
	if (topic[0] == '.' && (bytes == 1 || (bytes == 2 && topic[1] == '.')))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic must not be \"%s\"", pnstrdup(topic, bytes)),
				 errhint("Kafka reserves this name.")));
}

StaticAssertDecl(TOPIC_MAX <= OUTBOX_TOPIC_MAX, "the relay has room for it");

const OutboxSinkKind outbox_kafka_kind = {
	.name = "Kafka",
	.client = "librdkafka",
	.library = "$libdir/outbox_kafka",
	.settings = "outbox.bootstrap_servers, outbox.kafka_properties or "
				"outbox.kafka_properties_file",
	.secrets_file = "outbox.kafka_properties_file",
	.size_limit = "max.message.bytes of the topic in Kafka",
	.topic_max = TOPIC_MAX,
	.check_topic = check_topic,
	.property_is_forbidden = is_forbidden,
	.property_is_secret = is_secret,
	.property_is_file = is_file,
	.take_client_file = outbox_kafka_client_file,
};
