/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  From the settings of outbox to a configuration of librdkafka.
 *
 * In this order, the later ones winning: our defaults, the administrator's
 * properties, and what the promises of outbox rest on. (properties.c refuses
 * the latter by name already, with a better message.)
 *
 *-------------------------------------------------------------------------
 */
#include "kafka.h"

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/* What the administrator may change */
static const Setting defaults[] = {
	/* no lingering: while there is a backlog, batches fill by themselves
	 * behind the requests that are in flight */
	{"linger.ms", "0"},
	{"socket.nagle.disable", "true"},
	{"socket.keepalive.enable", "true"},
	/* as the Java clients, so that a key meets the same partition */
	{"partitioner", "murmur2_random"},
	/* a topic that is still unknown then is parked */
	{"topic.metadata.propagation.max.ms", "3000"},
	/* an outage is over soon after the brokers are back */
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "1000"},
	{"log.connection.close", "false"},
	/* nothing is fetched: it is metadata that may be large */
	{"receive.message.max.bytes", "16777216"},
};

/* What the promises rest on */
static const Setting fixed[] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	/* when a batch is refused, nothing behind it may overtake it: the
	 * producer stops, and the relay begins anew */
	{"enable.gapless.guarantee", "true"},
	/* retry for ever: an outage is not an event's fault */
	{"message.timeout.ms", "0"},
	{"delivery.report.only.error", "false"},
	/* log lines come through poll, in the relay's own thread */
	{"log.queue", "true"},
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

static bool
set_properties(rd_kafka_conf_t *conf, const OutboxProperties *properties,
			   char *error)
{
	for (int i = 0; i < properties->count; i++)
	{
		const OutboxProperty *property = &properties->items[i];

		if (set(conf, property->name, property->value, error))
			continue;
		if (property->secret)
			snprintf(error, OUTBOX_SINK_ERROR_MAX,
					 "librdkafka refuses the value of property \"%s\"",
					 property->name);
		return false;
	}
	return true;
}

/*
 * The queue of the library is a little larger than the relay's window, which
 * is the real limit; its messages carry headers and bookkeeping.
 */
static bool
set_limits(rd_kafka_conf_t *conf, const OutboxSinkConfig *config, char *error)
{
	int64 event_bytes = (int64) config->max_event_bytes + 16 * 1024;
	int64 queue_kb =
		(int64) config->window_size_kb * 2 + event_bytes / 1024 + 1;

	return set_number(conf, "queue.buffering.max.messages",
					  (int64) config->window_events + 1000, error) &&
		   set_number(conf, "queue.buffering.max.kbytes",
					  Min(queue_kb, PG_INT32_MAX), error) &&
		   set_number(conf, "message.max.bytes", Max(event_bytes, 1000000),
					  error);
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

/*
 * Makes a configuration, or returns NULL and a message in error (of
 * OUTBOX_SINK_ERROR_MAX bytes).
 */
rd_kafka_conf_t *
outbox_kafka_conf(const OutboxSinkConfig *config, char *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if (set_limits(conf, config, error) &&
		set(conf, "client.id", config->client_id, error) &&
		set_all(conf, defaults, lengthof(defaults), error) &&
		set_properties(conf, config->properties, error) &&
		set_batch(conf, config->batch_bytes, error) &&
		set(conf, "bootstrap.servers", config->bootstrap_servers, error) &&
		set_all(conf, fixed, lengthof(fixed), error))
	{
		/* everything comes as an event of the queue: no callback at all */
		rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR |
										   RD_KAFKA_EVENT_ERROR |
										   RD_KAFKA_EVENT_LOG);
		return conf;
	}
	rd_kafka_conf_destroy(conf);
	return NULL;
}
