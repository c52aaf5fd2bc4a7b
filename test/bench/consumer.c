/*
 * The yardstick of reading: librdkafka alone, with the settings of a
 * subscription's consumer, reading a topic from its beginning as fast as it can.
 *
 *	consumer BROKERS TOPIC PARTITIONS COUNT [PROPERTY=VALUE ...]
 *
 * Prints the records read per second, from the first one to the last, and the
 * CPU time that each took.
 */
#include <stdio.h>
#include <time.h>

#include "common.h"

#define BATCH    1000
#define PATIENCE 60 /* seconds for all of them to come */

/* CPU time of all threads so far. */
static int64_t
cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
assign_all(rd_kafka_t *rk, const char *topic, long partitions)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int) partitions);
	rd_kafka_resp_err_t error;

	for (long i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(list, topic, (int32_t) i)->offset =
			RD_KAFKA_OFFSET_BEGINNING;
	error = rd_kafka_assign(rk, list);
	if (error)
		die("assign: %s", rd_kafka_err2str(error));
	rd_kafka_topic_partition_list_destroy(list);
}

/* Reads what there is, for a second at most. Returns how many records. */
static long
read_some(rd_kafka_queue_t *queue)
{
	rd_kafka_message_t *messages[BATCH];
	ssize_t count = rd_kafka_consume_batch_queue(queue, 1000, messages, BATCH);
	long records = 0;

	for (ssize_t i = 0; i < count; i++)
	{
		records += messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR;
		rd_kafka_message_destroy(messages[i]);
	}
	return records;
}

int
main(int argc, char **argv)
{
	long count;
	long done;
	int64_t deadline;
	int64_t start;
	int64_t start_cpu;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;

	if (argc < 5)
		die("usage: consumer BROKERS TOPIC PARTITIONS COUNT "
			"[PROPERTY=VALUE ...]");
	count = number(argv[4], "COUNT");
	rk = new_client(RD_KAFKA_CONSUMER, consumer_conf(argv[1], argv + 5));
	rd_kafka_poll_set_consumer(rk);
	queue = rd_kafka_queue_get_consumer(rk);
	assign_all(rk, argv[2], number(argv[3], "PARTITIONS"));

	deadline = now_ns() + (int64_t) PATIENCE * 1000000000;
	while ((done = read_some(queue)) == 0 && now_ns() < deadline)
		;
	start = now_ns();
	start_cpu = cpu_ns();
	count -= done;
	for (done = 0; done < count && now_ns() < deadline;)
		done += read_some(queue);
	if (done < count)
		die("only %ld more of %ld records came", done, count);
	printf("%.0f/s, CPU %.2f us a record\n", done * 1e9 / (now_ns() - start),
		   (cpu_ns() - start_cpu) / 1e3 / done);

	rd_kafka_queue_destroy(queue);
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	return 0;
}
