/*
 * The yardstick of throughput: librdkafka alone, with the settings of the
 * relay's producer, sending records like the relay's as fast as it can.
 *
 *	producer [--bare] BROKERS TOPIC COUNT SIZE [PROPERTY=VALUE ...]
 *
 * Prints the records acknowledged per second, from the first produce call to
 * the last acknowledgement, and the CPU time that each took.  One record before goes uncounted: connecting is
 * not what is measured, as little as the relay's start is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"

static long acknowledged = 0;

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
		die("not delivered: %s", rd_kafka_err2str(message->err));
	acknowledged++;
}

/* CPU time of all threads so far. */
static int64_t
cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
send_all(rd_kafka_t *rk, rd_kafka_topic_t *topic, long count, long size,
		 int bare)
{
	long goal = acknowledged + count;
	char key[32];
	char *payload = malloc(size);

	if (payload == NULL)
		die("out of memory");
	fill(payload, size);
	for (long i = 0; i < count; i++)
	{
		rd_kafka_resp_err_t error;

		snprintf(key, sizeof(key), "key-%ld", i % 10000);
		while ((error = produce(rk, topic, key, payload, size,
								bare ? NULL : EVENT_ID)) ==
			   RD_KAFKA_RESP_ERR__QUEUE_FULL)
			rd_kafka_poll(rk, 10);
		if (error)
			die("not produced: %s", rd_kafka_err2str(error));
		if (i % 1000 == 0)
			rd_kafka_poll(rk, 0);
	}
	while (acknowledged < goal)
		rd_kafka_poll(rk, 100);
	free(payload);
}

int
main(int argc, char **argv)
{
	int bare = argc > 1 && strcmp(argv[1], "--bare") == 0;
	char **arg = argv + 1 + bare;
	long count;
	long size;
	int64_t start;
	int64_t start_cpu;
	rd_kafka_conf_t *conf;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;

	if (argc < 5 + bare)
		die("usage: producer [--bare] BROKERS TOPIC COUNT SIZE "
			"[PROPERTY=VALUE ...]");
	count = number(arg[2], "COUNT");
	size = number(arg[3], "SIZE");
	conf = producer_conf(arg[0], arg + 4);
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	rk = new_client(RD_KAFKA_PRODUCER, conf);
	topic = rd_kafka_topic_new(rk, arg[1], NULL);
	if (topic == NULL)
		die("topic %s: %s", arg[1], rd_kafka_err2str(rd_kafka_last_error()));

	send_all(rk, topic, 1, size, bare);
	start = now_ns();
	start_cpu = cpu_ns();
	send_all(rk, topic, count, size, bare);
	printf("%.0f/s, CPU %.2f us an event\n", count * 1e9 / (now_ns() - start),
		   (cpu_ns() - start_cpu) / 1e3 / count);

	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
