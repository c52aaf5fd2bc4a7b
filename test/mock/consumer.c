/*
 * consumer.c
 *		Writes down, loss-free, every record that the brokers hold.
 *
 * The tests compare what was emitted with what a consumer sees, so this must
 * tell NULL from empty, keep headers in order and repeated, and go on through
 * whatever the tests do to the brokers.  It reads the named topics, or all of
 * them, from their beginning forever, and finds new topics and partitions
 * itself, without creating any and without a consumer group.
 *
 * A line is a record, in the text format of COPY (tab, backslash, \N = NULL):
 *		topic partition offset timestamp key payload [name value]...
 * and a line "\E topic partition offset" says that there was nothing more to
 * read at this offset.  With --ends it prints "topic partition end" of every
 * partition instead and exits.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define DISCOVERY_INTERVAL_MS 200
#define REQUEST_TIMEOUT_MS    2000
#define POLL_MS               50

static rd_kafka_t *rk;
static char **topics;
static int num_topics;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "consumer: %s: %s\n", what, why);
	exit(1);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
put_field(const void *data, size_t size)
{
	const char *bytes = data;

	putchar('\t');
	if (bytes == NULL)
	{
		fputs("\\N", stdout);
		return;
	}
	for (size_t i = 0; i < size; i++)
	{
		switch (bytes[i])
		{
			case '\\':
				fputs("\\\\", stdout);
				break;
			case '\t':
				fputs("\\t", stdout);
				break;
			case '\n':
				fputs("\\n", stdout);
				break;
			case '\r':
				fputs("\\r", stdout);
				break;
			default:
				putchar(bytes[i]);
		}
	}
}

static void
put_record(rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;

	printf("%s\t%" PRId32 "\t%" PRId64 "\t%" PRId64,
		   rd_kafka_topic_name(message->rkt), message->partition,
		   message->offset, rd_kafka_message_timestamp(message, NULL));
	put_field(message->key, message->key_len);
	put_field(message->payload, message->len);

	if (rd_kafka_message_headers(message, &headers) ==
		RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		const char *name;
		const void *value;
		size_t size;

		for (size_t i = 0;
			 rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
			 RD_KAFKA_RESP_ERR_NO_ERROR;
			 i++)
		{
			put_field(name, strlen(name));
			put_field(value, size);
		}
	}
	putchar('\n');
}

static void
handle_message(rd_kafka_message_t *message)
{
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		put_record(message);
	else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		printf("\\E\t%s\t%" PRId32 "\t%" PRId64 "\n",
			   rd_kafka_topic_name(message->rkt), message->partition,
			   message->offset);
	else
		fprintf(stderr, "consumer: %s\n", rd_kafka_message_errstr(message));
	rd_kafka_message_destroy(message);
}

/* Without names on the command line: all but Kafka's internal ones. */
static bool
is_wanted(const char *topic)
{
	if (num_topics == 0)
		return strncmp(topic, "__", 2) != 0;
	for (int i = 0; i < num_topics; i++)
	{
		if (strcmp(topic, topics[i]) == 0)
			return true;
	}
	return false;
}

/*
 * The wanted partitions that exist now, or NULL if the brokers do not answer.
 * Asking for all topics is what keeps the brokers from creating any.
 */
static rd_kafka_topic_partition_list_t *
list_partitions(void)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_partition_list_t *list;

	if (rd_kafka_metadata(rk, 1, NULL, &metadata, REQUEST_TIMEOUT_MS) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		return NULL;

	list = rd_kafka_topic_partition_list_new(16);
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];

		if (!is_wanted(topic->topic))
			continue;
		for (int p = 0; p < topic->partition_cnt; p++)
			rd_kafka_topic_partition_list_add(list, topic->topic,
											  topic->partitions[p].id);
	}
	rd_kafka_metadata_destroy(metadata);
	return list;
}

/* Start to read the partitions that are not read yet. */
static void
discover(rd_kafka_topic_partition_list_t *known)
{
	rd_kafka_topic_partition_list_t *found = list_partitions();
	rd_kafka_topic_partition_list_t *fresh;
	rd_kafka_error_t *error;

	if (found == NULL)
		return;

	fresh = rd_kafka_topic_partition_list_new(16);
	for (int i = 0; i < found->cnt; i++)
	{
		const char *topic = found->elems[i].topic;
		int32_t partition = found->elems[i].partition;

		if (rd_kafka_topic_partition_list_find(known, topic, partition))
			continue;
		rd_kafka_topic_partition_list_add(known, topic, partition);
		rd_kafka_topic_partition_list_add(fresh, topic, partition)->offset =
			RD_KAFKA_OFFSET_BEGINNING;
	}
	if (fresh->cnt > 0 &&
		(error = rd_kafka_incremental_assign(rk, fresh)) != NULL)
		die("could not assign partitions", rd_kafka_error_string(error));

	rd_kafka_topic_partition_list_destroy(fresh);
	rd_kafka_topic_partition_list_destroy(found);
}

static void
consume(void)
{
	rd_kafka_topic_partition_list_t *known =
		rd_kafka_topic_partition_list_new(16);
	int64_t next_discovery = 0;

	for (;;)
	{
		rd_kafka_message_t *message;

		if (now_ms() >= next_discovery)
		{
			discover(known);
			next_discovery = now_ms() + DISCOVERY_INTERVAL_MS;
		}

		/* Flush only when idle: a backlog is read at full speed. */
		message = rd_kafka_consumer_poll(rk, 0);
		if (message == NULL)
		{
			if (fflush(stdout) != 0)
				die("could not write", "output closed");
			message = rd_kafka_consumer_poll(rk, POLL_MS);
		}
		if (message != NULL)
			handle_message(message);
	}
}

static void
print_ends(void)
{
	rd_kafka_topic_partition_list_t *list = list_partitions();

	if (list == NULL)
		die("could not list topics", "no answer");
	for (int i = 0; i < list->cnt; i++)
	{
		const char *topic = list->elems[i].topic;
		int32_t partition = list->elems[i].partition;
		int64_t low;
		int64_t high;
		rd_kafka_resp_err_t err;

		err = rd_kafka_query_watermark_offsets(rk, topic, partition, &low,
											   &high, REQUEST_TIMEOUT_MS);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			die(topic, rd_kafka_err2str(err));
		printf("%s\t%" PRId32 "\t%" PRId64 "\n", topic, partition, high);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

static void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char message[512];

	if (rd_kafka_conf_set(conf, name, value, message, sizeof(message)) !=
		RD_KAFKA_CONF_OK)
		die(name, message);
}

/* Quick to notice new records and returned brokers; tests wait for both. */
static rd_kafka_conf_t *
default_conf(const char *bootstrap)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set_property(conf, "bootstrap.servers", bootstrap);
	set_property(conf, "group.id", "outbox-test");
	set_property(conf, "enable.auto.commit", "false");
	set_property(conf, "enable.auto.offset.store", "false");
	set_property(conf, "enable.partition.eof", "true");
	set_property(conf, "auto.offset.reset", "earliest");
	set_property(conf, "allow.auto.create.topics", "false");
	set_property(conf, "check.crcs", "true");
	set_property(conf, "fetch.wait.max.ms", "50");
	set_property(conf, "fetch.error.backoff.ms", "50");
	set_property(conf, "reconnect.backoff.ms", "20");
	set_property(conf, "reconnect.backoff.max.ms", "200");
	set_property(conf, "log_level", "3");
	return conf;
}

static void
usage(void)
{
	fprintf(stderr, "usage: consumer [--ends] [-X NAME=VALUE]... "
					"BOOTSTRAP [TOPIC]...\n");
	exit(2);
}

int
main(int argc, char **argv)
{
	bool ends = false;
	char *properties[argc];
	int num_properties = 0;
	int i;
	char message[512];
	rd_kafka_conf_t *conf;

	for (i = 1; i < argc && argv[i][0] == '-'; i++)
	{
		if (strcmp(argv[i], "--ends") == 0)
			ends = true;
		else if (strcmp(argv[i], "-X") == 0 && i + 1 < argc &&
				 strchr(argv[i + 1], '=') != NULL)
			properties[num_properties++] = argv[++i];
		else
			usage();
	}
	if (i == argc)
		usage();

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	conf = default_conf(argv[i]);
	topics = argv + i + 1;
	num_topics = argc - i - 1;
	for (i = 0; i < num_properties; i++)
	{
		char *value = strchr(properties[i], '=');

		*value++ = '\0';
		set_property(conf, properties[i], value);
	}

	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, message, sizeof(message));
	if (rk == NULL)
		die("could not start", message);
	rd_kafka_poll_set_consumer(rk);

	if (ends)
		print_ends();
	else
		consume();
	return fflush(stdout) == 0 ? 0 : 1;
}
