/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  From the settings of outbox to a configuration of librdkafka.
 *
 * In this order, the later ones winning: our defaults, the administrator's
 * properties, and what the promises of outbox rest on. (kafka_rules.c refuses
 * the latter by name already, with a better message.) In the end the library is
 * asked what it has understood.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <sys/stat.h>

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/* What the administrator may change */
static const Setting defaults[] = {
	{"socket.nagle.disable", "true"},
	{"socket.keepalive.enable", "true"},
	/* a topic that is still unknown then is told */
	{"topic.metadata.propagation.max.ms", "3000"},
	/* an outage is over soon after the brokers are back */
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "1000"},
	/* who hangs up on us is told in no other way: see tls.c */
	{"log.connection.close", "true"},
};

static const Setting producer_defaults[] = {
	/* no lingering: while there is a backlog, batches fill by themselves
	 * behind the requests that are in flight */
	{"linger.ms", "0"},
	/* as the Java clients, so that a key meets the same partition */
	{"partitioner", "murmur2_random"},
	/* nothing is fetched: it is metadata that may be large */
	{"receive.message.max.bytes", "16777216"},
};

static const Setting consumer_defaults[] = {
	/* the first message comes whole, however large it is: so must it, here */
	{"receive.message.max.bytes", "1000000000"},
};

/* Newer than the oldest library */
static const Setting consumer_newer[] = {
	/* so soon after its queue was full, it fetches again */
	{"fetch.queue.backoff.ms", "10"},
};

/* What the promises rest on */
static const Setting producer_fixed[] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	/* when a batch is refused, nothing behind it may overtake it: the
	 * producer stops, and the relay begins anew */
	{"enable.gapless.guarantee", "true"},
	/* retry forever: an outage is not an event's fault */
	{"message.timeout.ms", "0"},
	/* outbox_emit() has its limit, and a topic has one; batches have theirs in
	 * batch.size */
	{"message.max.bytes", "1000000000"},
	{"delivery.report.only.error", "false"},
	/* log lines come through poll, in the relay's own thread */
	{"log.queue", "true"},
};

static const Setting consumer_fixed[] = {
	/* never a silent jump: what is not there (any more) is told */
	{"auto.offset.reset", "error"},
	{"check.crcs", "true"},
	/* offsets are in the database, not in a group of Kafka's */
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"isolation.level", "read_committed"},
	/* of a producer; here it would be the least that is fetched at once */
	{"message.max.bytes", "1000"},
	{"log.queue", "true"},
};

/* What must be there in the end, however it has been set; "" = nothing */
static const Setting producer_needed[] = {
	{"delivery.report.only.error", "false"},
	{"enable.gapless.guarantee", "true"},
	{"enable.idempotence", "true"},
	{"internal.termination.signal", "0"},
	{"log.queue", "true"},
	{"message.send.max.retries", "2147483647"},
	{"message.timeout.ms", "0"},
	{"plugin.library.paths", ""},
	{"queuing.strategy", "fifo"},
	{"request.required.acks", "-1"},
	{"statistics.interval.ms", "0"},
	{"topic.blacklist", ""},
	{"transactional.id", ""},
};

static const Setting consumer_needed[] = {
	{"allow.auto.create.topics", "false"},
	{"auto.offset.reset", "error"},
	{"check.crcs", "true"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"group.id", ""},
	{"internal.termination.signal", "0"},
	{"isolation.level", "read_committed"},
	{"log.queue", "true"},
	{"plugin.library.paths", ""},
	{"statistics.interval.ms", "0"},
	{"topic.blacklist", ""},
};

/* The partitioners by which events of one key stay together, as topics.c
 * knows them */
static const char *const partitioners[] = {
	"consistent",   "consistent_random", "fnv1a",
	"fnv1a_random", "murmur2",           "murmur2_random",
};

/* Sets one property. The library's message may repeat the value. */
static bool
set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error)
{
	return rd_kafka_conf_set(conf, name, value, error,
							 OUTBOX_SINK_ERROR_MAX) == RD_KAFKA_CONF_OK;
}

static bool
set_number(rd_kafka_conf_t *conf, const char *name, int64 value, char *error)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long) value);
	return set(conf, name, text, error);
}

static bool
set_all(rd_kafka_conf_t *conf, const Setting *settings, size_t count,
		char *error)
{
	for (size_t i = 0; i < count; i++)
	{
		if (!set(conf, settings[i].name, settings[i].value, error))
			return false;
	}
	return true;
}

/*
 * Is the value the path of a pipe or a device? To open it could take forever,
 * in the relay's own thread.
 */
static bool
is_special_file(const OutboxProperties *properties,
				const OutboxProperty *property, char *error)
{
	struct stat st;

	if (!properties->kind->property_is_file(property->name, property->value) ||
		stat(property->value, &st) != 0 || S_ISREG(st.st_mode) ||
		S_ISDIR(st.st_mode))
		return false;
	snprintf(error, OUTBOX_SINK_ERROR_MAX,
			 "what property \"%s\" names is neither a file nor a directory",
			 property->name);
	return true;
}

static bool
set_properties(rd_kafka_conf_t *conf, const OutboxProperties *properties,
			   char *error)
{
	for (int i = 0; i < properties->count; i++)
	{
		const OutboxProperty *property = &properties->items[i];

		if (is_special_file(properties, property, error))
			return false;
		if (set(conf, property->name, property->value, error))
			continue;
		if (strstr(error, "OIDC") != NULL &&
			strstr(error, "not supported in this build") != NULL)
			snprintf(
				error, OUTBOX_SINK_ERROR_MAX,
				"property \"%s\" needs a librdkafka that was built with "
				"OIDC, which is one of its builtin.features then: version "
				"%s here has been built without libcurl",
				property->name, rd_kafka_version_str());
		else if (property->secret)
			snprintf(error, OUTBOX_SINK_ERROR_MAX,
					 "librdkafka refuses the value of property \"%s\"",
					 property->name);
		return false;
	}
	return true;
}

/* What the library has for a property, "" if nothing */
static void
get(const rd_kafka_conf_t *conf, const char *name, char *value, size_t size)
{
	if (rd_kafka_conf_get(conf, name, value, &size) != RD_KAFKA_CONF_OK)
		value[0] = '\0';
}

static bool
is_partitioner(const char *value)
{
	for (size_t i = 0; i < lengthof(partitioners); i++)
	{
		if (strcmp(value, partitioners[i]) == 0)
			return true;
	}
	return false;
}

/* With OAUTHBEARER, the library would wait forever for a token from us. */
static bool
lacks_tokens(const rd_kafka_conf_t *conf, char *error)
{
	char mechanism[64];
	char method[64];
	char own[64];

	get(conf, "sasl.mechanism", mechanism, sizeof(mechanism));
	get(conf, "sasl.oauthbearer.method", method, sizeof(method));
	get(conf, "enable.sasl.oauthbearer.unsecure.jwt", own, sizeof(own));
	if (strcmp(mechanism, "OAUTHBEARER") != 0 || strcmp(method, "oidc") == 0 ||
		strcmp(own, "true") == 0)
		return false;
	snprintf(
		error, OUTBOX_SINK_ERROR_MAX,
		"with OAUTHBEARER as sasl.mechanism, property "
		"\"sasl.oauthbearer.method\" must be \"oidc\": tokens come from a "
		"token server");
	return true;
}

/* Has the library understood the properties as we have? */
static bool
check(const rd_kafka_conf_t *conf, const Setting *needed, size_t count,
	  char *error)
{
	const char *wrong = NULL;
	char value[64];

	get(conf, "partitioner", value, sizeof(value));
	if (!is_partitioner(value))
		wrong = "partitioner";
	for (size_t i = 0; wrong == NULL && i < count; i++)
	{
		get(conf, needed[i].name, value, sizeof(value));
		if (strcmp(value, needed[i].value) != 0)
			wrong = needed[i].name;
	}
	if (wrong != NULL)
		snprintf(error, OUTBOX_SINK_ERROR_MAX,
				 "property \"%s\" cannot be \"%s\": outbox guarantees order "
				 "and delivery by its own value",
				 wrong, value);
	return wrong == NULL;
}

/*
 * The relay's window is the real limit of what is queued, and how large an
 * event can be is told by outbox_emit() and the topic; an event that was
 * accepted once must not be refused here. Batches have a limit of their own
 * (batch.size).
 */
static bool
set_limits(rd_kafka_conf_t *conf, const OutboxSinkConfig *config, char *error)
{
	return set_number(conf, "queue.buffering.max.messages",
					  (int64) config->window_events + 1000, error) &&
		   set_number(conf, "queue.buffering.max.kbytes", PG_INT32_MAX,
					  error) &&
		   set_number(conf, "message.max.bytes", 1000000000, error);
}

/* Smaller batches than usual, to find out which event is refused */
static bool
set_batch(rd_kafka_conf_t *conf, int batch_bytes, char *error)
{
	if (batch_bytes == 0)
		return true;
	if (batch_bytes == 1)
		return set(conf, "batch.num.messages", "1", error);
	return set_number(conf, "batch.size", batch_bytes, error);
}

/* Sets those that this version of the library knows. */
static bool
set_newer(rd_kafka_conf_t *conf, const Setting *settings, size_t count,
		  char *error)
{
	for (size_t i = 0; i < count; i++)
	{
		if (rd_kafka_conf_set(conf, settings[i].name, settings[i].value, error,
							  OUTBOX_SINK_ERROR_MAX) == RD_KAFKA_CONF_INVALID)
			return false;
	}
	return true;
}

/* What a producer and a consumer have in common in the end; the configuration
 * is destroyed if it is not good. */
static rd_kafka_conf_t *
finish(rd_kafka_conf_t *conf, bool good, int events, char *error)
{
	if (good && !lacks_tokens(conf, error))
	{
		outbox_kafka_tls_init(conf);
		/* everything comes as an event of the queue: no callback at all */
		rd_kafka_conf_set_events(conf, events | RD_KAFKA_EVENT_ERROR |
										   RD_KAFKA_EVENT_LOG);
		return conf;
	}
	rd_kafka_conf_destroy(conf);
	return NULL;
}

/*
 * Makes a producer's configuration, or returns NULL and a message in error (of
 * OUTBOX_SINK_ERROR_MAX bytes).
 */
rd_kafka_conf_t *
outbox_kafka_sink_conf(const OutboxSinkConfig *config, char *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool good =
		set_limits(conf, config, error) &&
		set(conf, "client.id", config->client_id, error) &&
		set_all(conf, defaults, lengthof(defaults), error) &&
		set_all(conf, producer_defaults, lengthof(producer_defaults), error) &&
		set_properties(conf, config->properties, error) &&
		set_batch(conf, config->batch_bytes, error) &&
		set(conf, "bootstrap.servers", config->servers, error) &&
		set_all(conf, producer_fixed, lengthof(producer_fixed), error) &&
		check(conf, producer_needed, lengthof(producer_needed), error) &&
		(!config->keys_once ||
		 set(conf, "enable.gapless.guarantee", "false", error));

	return finish(conf, good, RD_KAFKA_EVENT_DR, error);
}

/* The same for a consumer. It is a member of no group. */
rd_kafka_conf_t *
outbox_kafka_source_conf(const OutboxSourceConfig *config, char *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool good =
		set(conf, "client.id", config->client_id, error) &&
		set_all(conf, defaults, lengthof(defaults), error) &&
		set_all(conf, consumer_defaults, lengthof(consumer_defaults), error) &&
		set_newer(conf, consumer_newer, lengthof(consumer_newer), error) &&
		set_properties(conf, config->properties, error) &&
		set_number(conf, "queued.max.messages.kbytes", config->queue_kb,
				   error) &&
		set(conf, "bootstrap.servers", config->servers, error) &&
		set_all(conf, consumer_fixed, lengthof(consumer_fixed), error) &&
		check(conf, consumer_needed, lengthof(consumer_needed), error);

	return finish(conf, good, RD_KAFKA_EVENT_FETCH, error);
}
