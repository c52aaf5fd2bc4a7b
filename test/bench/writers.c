/*
 * What writing costs the application while its events reach Kafka.  Four
 * clients write one row a transaction, as fast as they can:
 *
 *	writers raw    BROKERS TOPIC SECONDS [PROPERTY=VALUE ...]
 *	writers outbox BROKERS TOPIC SECONDS
 *
 * raw: an INSERT into the table plain, and when it has committed, the same
 * record to librdkafka, in this process and with the settings of the relay's
 * producer.  That is how an application does it that has no outbox, and loses
 * the record if it ends in between; so as many records are published from the
 * same machine at the same time.  outbox: SELECT outbox_emit(...), and the
 * relay publishes.  The database is the one of libpq's environment.
 *
 * Prints the transactions per second until the broker has acknowledged the
 * last record: a relay that falls behind gains nothing.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common.h"

#define WRITERS 4
#define SIZE    200 /* of a payload */
#define KEYS    10000

typedef struct
{
	pthread_t thread;
	unsigned int seed;
	long written;
} Writer;

static const char *topic_name;
static int64_t deadline;
static rd_kafka_t *producer = NULL; /* NULL: by way of the outbox */
static rd_kafka_topic_t *producer_topic;
static atomic_long acknowledged = 0;

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
		die("not delivered: %s", rd_kafka_err2str(message->err));
	acknowledged++;
}

static void
check(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
	if (PQresultStatus(result) != wanted)
		die("%s", PQerrorMessage(conn));
	PQclear(result);
}

static PGconn *
connect_database(void)
{
	PGconn *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	check(conn,
		  PQprepare(conn, "write",
					producer
						? "INSERT INTO plain (topic, key, payload) "
						  "VALUES ($1::text, $2::text, $3::bytea)"
						: "SELECT outbox_emit($1::text, $2::text, $3::bytea)",
					3, NULL),
		  PGRES_COMMAND_OK);
	return conn;
}

static void
publish(const char *key, const char *payload)
{
	rd_kafka_resp_err_t error;

	while ((error = produce(producer, producer_topic, key, payload, SIZE,
							EVENT_ID)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		rd_kafka_poll(producer, 10);
	if (error)
		die("not produced: %s", rd_kafka_err2str(error));
}

static void *
writer_main(void *arg)
{
	Writer *self = arg;
	PGconn *conn = connect_database();
	char payload[SIZE + 1];
	char key[32];
	const char *values[] = {topic_name, key, payload};

	fill(payload, SIZE);
	payload[SIZE] = '\0';
	while (now_ns() < deadline)
	{
		snprintf(key, sizeof(key), "key-%d", rand_r(&self->seed) % KEYS);
		check(conn, PQexecPrepared(conn, "write", 3, values, NULL, NULL, 0),
			  producer ? PGRES_COMMAND_OK : PGRES_TUPLES_OK);
		if (producer)
			publish(key, payload);
		self->written++;
	}
	PQfinish(conn);
	return NULL;
}

/* Wait until the relay has published everything. */
static void
wait_published(void)
{
	PGconn *conn = PQconnectdb("");
	PGresult *result;

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	result = PQexec(conn, "SELECT outbox.wait_published('2min')");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(conn));
	if (strcmp(PQgetvalue(result, 0, 0), "t") != 0)
		die("the relay did not publish everything");
	PQclear(result);
	PQfinish(conn);
}

int
main(int argc, char **argv)
{
	Writer writers[WRITERS] = {0};
	int64_t start;
	double load_seconds;
	double seconds;
	long total = 0;

	if (argc < 5 || (strcmp(argv[1], "raw") && strcmp(argv[1], "outbox")))
		die("usage: writers raw|outbox BROKERS TOPIC SECONDS "
			"[PROPERTY=VALUE ...]");
	topic_name = argv[3];
	if (strcmp(argv[1], "raw") == 0)
	{
		rd_kafka_conf_t *conf = producer_conf(argv[2], argv + 5);

		rd_kafka_conf_set_dr_msg_cb(conf, delivered);
		producer = new_client(RD_KAFKA_PRODUCER, conf);
		producer_topic = rd_kafka_topic_new(producer, topic_name, NULL);
	}

	start = now_ns();
	deadline = start + (int64_t) number(argv[4], "SECONDS") * 1000000000;
	for (int i = 0; i < WRITERS; i++)
	{
		writers[i].seed = i + 1;
		pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]);
	}
	while (producer && now_ns() < deadline)
		rd_kafka_poll(producer, 100);
	for (int i = 0; i < WRITERS; i++)
	{
		pthread_join(writers[i].thread, NULL);
		total += writers[i].written;
	}
	load_seconds = (now_ns() - start) / 1e9;
	while (producer && acknowledged < total)
		rd_kafka_poll(producer, 100);
	if (!producer)
		wait_published();
	seconds = (now_ns() - start) / 1e9;
	printf("%.0f tx/s, the last one acknowledged %.2f s after its commit\n",
		   total / seconds, seconds - load_seconds);

	if (producer)
	{
		rd_kafka_topic_destroy(producer_topic);
		rd_kafka_destroy(producer);
	}
	return 0;
}
