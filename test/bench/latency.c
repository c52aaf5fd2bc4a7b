/*
 * How long an event takes to a consumer.  Senders and the consumer are threads
 * of this one program, so that one clock serves for all ways an event can take:
 *
 *	latency raw          BROKERS TOPIC RATE SECONDS [PROPERTY=VALUE ...]
 *	latency outbox       BROKERS TOPIC RATE SECONDS
 *	latency subscription BROKERS TOPIC RATE SECONDS [PROPERTY=VALUE ...]
 *
 * raw: from right before the produce call of librdkafka, with the settings of
 * the relay's producer.  outbox: from the return of SELECT outbox_emit(...), a
 * transaction of its own; the database is the one of libpq's environment.
 * subscription: from the produce call, too, until a session of that database is
 * notified on the channel "effect" by what a subscription's function does: that
 * is after its commit.
 *
 * A record begins with a mark of this run and its number.  Senders note by
 * number when they sent, the consumer when it received, and only the end
 * compares: an event that arrives before the sender has seen its commit return
 * counts with its negative time.
 */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#include "common.h"

#define SENDERS        4
#define SIZE           200 /* of a payload */
#define WARM_UP        2   /* seconds that do not count */
#define PATIENCE       10  /* seconds for the last events to arrive */
#define MAX_PARTITIONS 64

typedef struct
{
	pthread_t thread;
	long first; /* number of its first event */
} Sender;

static const char *brokers;
static const char *topic_name;
static long rate;
static long total;
static uint64_t mark;
static int64_t start;
static int64_t *sent;
static int64_t *received;
static atomic_long arrived = 0;
static atomic_bool stop = false;

static rd_kafka_t *producer = NULL; /* NULL: by way of the outbox */
static rd_kafka_topic_t *producer_topic;

/* The time at which event number n is due. */
static int64_t
due(long n)
{
	return start + (int64_t) n * 1000000000 / rate;
}

static void
sleep_until(int64_t when)
{
	struct timespec ts = {when / 1000000000, when % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

static PGconn *
connect_database(void)
{
	PGconn *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	return conn;
}

static PGconn *
connect_emitter(void)
{
	PGconn *conn = connect_database();
	PGresult *result;

	result = PQprepare(conn, "emit",
					   "SELECT outbox_emit($1::text, $2::text, $3::bytea)", 3,
					   NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(conn));
	PQclear(result);
	return conn;
}

static void
emit(PGconn *conn, const char *key, const char *payload)
{
	const char *values[] = {topic_name, key, payload};
	PGresult *result = PQexecPrepared(conn, "emit", 3, values, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(conn));
	PQclear(result);
}

static void *
sender_main(void *arg)
{
	Sender *self = arg;
	PGconn *conn = producer ? NULL : connect_emitter();
	char payload[SIZE + 1];
	char key[32];

	fill(payload, SIZE);
	payload[SIZE] = '\0';
	for (long n = self->first; n < total; n += SENDERS)
	{
		/* the NUL that snprintf leaves becomes filler again */
		int length = snprintf(payload, SIZE, "%016" PRIx64 " %ld ", mark, n);
		char event_id[EVENT_ID_SIZE + 1];

		payload[length] = '.';
		snprintf(key, sizeof(key), "key-%ld", n % 10000);
		sleep_until(due(n));
		if (conn)
		{
			emit(conn, key, payload);
			sent[n] = now_ns();
		}
		else
		{
			rd_kafka_resp_err_t error;

			snprintf(event_id, sizeof(event_id), "%016" PRIx64 "-%016lx", mark,
					 n);
			sent[n] = now_ns();
			error = produce(producer, producer_topic, key, payload, SIZE,
							event_id);
			if (error)
				die("not produced: %s", rd_kafka_err2str(error));
			rd_kafka_poll(producer, 0);
		}
	}
	PQfinish(conn);
	return NULL;
}

/* Give the consumer all partitions of the topic, from their present ends. */
static void
assign_ends(rd_kafka_t *consumer)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer, topic_name, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t error;

	error = rd_kafka_metadata(consumer, 0, topic, &metadata, 10000);
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
		error = metadata->topics[0].err;
	if (error)
		die("topic %s: %s", topic_name, rd_kafka_err2str(error));
	list = rd_kafka_topic_partition_list_new(MAX_PARTITIONS);
	for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
	{
		int64_t low;
		int64_t high;

		error = rd_kafka_query_watermark_offsets(consumer, topic_name, i, &low,
												 &high, 10000);
		if (error)
			die("offsets of %s: %s", topic_name, rd_kafka_err2str(error));
		rd_kafka_topic_partition_list_add(list, topic_name, i)->offset = high;
	}
	error = rd_kafka_assign(consumer, list);
	if (error)
		die("assign: %s", rd_kafka_err2str(error));
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(topic);
}

static rd_kafka_t *
start_consumer(void)
{
	char *none[] = {NULL};
	rd_kafka_t *consumer =
		new_client(RD_KAFKA_CONSUMER, consumer_conf(brokers, none));

	rd_kafka_poll_set_consumer(consumer);
	assign_ends(consumer);
	return consumer;
}

/* What begins like this has come. */
static void
note_arrival(const char *text)
{
	int64_t now = now_ns();
	uint64_t its_mark;
	long n;

	if (sscanf(text, "%" SCNx64 " %ld", &its_mark, &n) != 2 ||
		its_mark != mark || n < 0 || n >= total || received[n] != 0)
		return; /* another run's, or a duplicate */
	received[n] = now;
	arrived++;
}

static void *
consumer_main(void *arg)
{
	rd_kafka_t *consumer = arg;

	while (!stop)
	{
		rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);

		if (message == NULL)
			continue;
		if (!message->err && message->len == SIZE)
		{
			char text[48];

			memcpy(text, message->payload, sizeof(text));
			text[sizeof(text) - 1] = '\0';
			note_arrival(text);
		}
		rd_kafka_message_destroy(message);
	}
	return NULL;
}

static PGconn *
start_listener(void)
{
	PGconn *conn = connect_database();
	PGresult *result = PQexec(conn, "LISTEN effect");

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(conn));
	PQclear(result);
	return conn;
}

static void *
listener_main(void *arg)
{
	PGconn *conn = arg;

	while (!stop)
	{
		struct pollfd readable = {PQsocket(conn), POLLIN, 0};
		PGnotify *notify;

		poll(&readable, 1, 100);
		if (!PQconsumeInput(conn))
			die("%s", PQerrorMessage(conn));
		while ((notify = PQnotifies(conn)) != NULL)
		{
			note_arrival(notify->extra);
			PQfreemem(notify);
		}
	}
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *) a;
	int64_t y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

/* Print p50, p99 and the longest in milliseconds, and what was measured. */
static void
report(void)
{
	int64_t *taken = malloc(total * sizeof(*taken));
	int64_t last = start;
	long warm_up = WARM_UP * rate;
	long count = 0;

	if (taken == NULL)
		die("out of memory");
	for (long n = 0; n < total; n++)
	{
		if (sent[n] > last)
			last = sent[n];
		if (n >= warm_up && received[n] != 0)
			taken[count++] = received[n] - sent[n];
	}
	if (count == 0)
		die("nothing arrived");
	qsort(taken, count, sizeof(*taken), compare);
	printf("p50 %.3f p99 %.3f max %.3f count %ld lost %ld rate %.0f\n",
		   taken[count / 2] / 1e6, taken[count * 99 / 100] / 1e6,
		   taken[count - 1] / 1e6, count, total - arrived,
		   total * 1e9 / (last - start));
	free(taken);
}

int
main(int argc, char **argv)
{
	Sender senders[SENDERS];
	pthread_t receiver_thread;
	rd_kafka_t *consumer = NULL;
	PGconn *listener = NULL;
	int64_t deadline;

	if (argc < 6 || (strcmp(argv[1], "raw") && strcmp(argv[1], "outbox") &&
					 strcmp(argv[1], "subscription")))
		die("usage: latency raw|outbox|subscription BROKERS TOPIC RATE "
			"SECONDS "
			"[PROPERTY=VALUE ...]");
	brokers = argv[2];
	topic_name = argv[3];
	rate = number(argv[4], "RATE");
	total = rate * (number(argv[5], "SECONDS") + WARM_UP);
	sent = calloc(total, sizeof(*sent));
	received = calloc(total, sizeof(*received));
	if (sent == NULL || received == NULL)
		die("out of memory");
	mark = now_ns();

	if (strcmp(argv[1], "outbox") != 0)
	{
		producer =
			new_client(RD_KAFKA_PRODUCER, producer_conf(brokers, argv + 6));
		producer_topic = rd_kafka_topic_new(producer, topic_name, NULL);
	}
	if (strcmp(argv[1], "subscription") == 0)
	{
		listener = start_listener();
		pthread_create(&receiver_thread, NULL, listener_main, listener);
	}
	else
	{
		consumer = start_consumer();
		pthread_create(&receiver_thread, NULL, consumer_main, consumer);
	}
	start = now_ns();
	for (int i = 0; i < SENDERS; i++)
	{
		senders[i].first = i;
		pthread_create(&senders[i].thread, NULL, sender_main, &senders[i]);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	deadline = now_ns() + (int64_t) PATIENCE * 1000000000;
	while (arrived < total && now_ns() < deadline)
		sleep_until(now_ns() + 10000000);
	stop = true;
	pthread_join(receiver_thread, NULL);
	report();

	if (consumer)
	{
		rd_kafka_consumer_close(consumer);
		rd_kafka_destroy(consumer);
	}
	PQfinish(listener);
	if (producer)
	{
		rd_kafka_topic_destroy(producer_topic);
		rd_kafka_destroy(producer);
	}
	free(sent);
	free(received);
	return 0;
}
