/*
 * What the measuring programs share: see common.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"

void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* A positive number from the command line. */
long
number(const char *text, const char *what)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || value <= 0 || value > 1000000000)
		die("%s is no number for %s", text, what);
	return value;
}

int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Printable filler that says nothing, for payloads. */
void
fill(char *buffer, size_t size)
{
	for (size_t i = 0; i < size; i++)
		buffer[i] = 'a' + i * 7 % 26;
}

void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) !=
		RD_KAFKA_CONF_OK)
		die("%s", error);
}

/* Properties from the command line, each as name=value, up to a NULL. */
static void
set_all(rd_kafka_conf_t *conf, char **properties)
{
	for (; *properties != NULL; properties++)
	{
		char *value = strchr(*properties, '=');

		if (value == NULL)
			die("\"%s\" is not of the form property=value", *properties);
		*value++ = '\0';
		set(conf, *properties, value);
	}
}

/* The settings of the relay's producer, and more from the command line. */
rd_kafka_conf_t *
producer_conf(const char *brokers, char **properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set(conf, "bootstrap.servers", brokers);
	set(conf, "acks", "all");
	set(conf, "enable.idempotence", "true");
	set(conf, "linger.ms", "0");
	set(conf, "partitioner", "murmur2_random");
	set(conf, "socket.nagle.disable", "true");
	set(conf, "message.timeout.ms", "0");
	/* more does not make it faster, rather slower */
	set(conf, "queue.buffering.max.messages", "100000");
	set_all(conf, properties);
	return conf;
}

/* Likewise a subscription's consumer. */
rd_kafka_conf_t *
consumer_conf(const char *brokers, char **properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set(conf, "bootstrap.servers", brokers);
	set(conf, "group.id", "outbox-bench"); /* unused, but asked for */
	set(conf, "enable.auto.commit", "false");
	set(conf, "isolation.level", "read_committed");
	set(conf, "fetch.wait.max.ms", "100");
	set(conf, "socket.nagle.disable", "true");
	set_all(conf, properties);
	return conf;
}

rd_kafka_t *
new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char error[512];
	rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof(error));

	if (rk == NULL)
		die("%s", error);
	return rk;
}

/*
 * Hand one record over to the library, as the relay does: with a time and the
 * header event_id, unless that is NULL.
 */
rd_kafka_resp_err_t
produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const char *key,
		const char *payload, size_t size, const char *event_id)
{
	struct timespec now;

	if (event_id == NULL)
		return rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic),
								 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								 RD_KAFKA_V_KEY(key, strlen(key)),
								 RD_KAFKA_V_VALUE((void *) payload, size),
								 RD_KAFKA_V_END);
	clock_gettime(CLOCK_REALTIME, &now);
	return rd_kafka_producev(
		rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_KEY(key, strlen(key)),
		RD_KAFKA_V_VALUE((void *) payload, size),
		RD_KAFKA_V_TIMESTAMP((int64_t) now.tv_sec * 1000 +
							 now.tv_nsec / 1000000),
		RD_KAFKA_V_HEADER("event_id", event_id, EVENT_ID_SIZE),
		RD_KAFKA_V_END);
}
