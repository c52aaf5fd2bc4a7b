/*
 * mockbroker.c
 *		Kafka brokers for the tests, in one small process, with faults on command.
 *
 * This is the mock cluster of librdkafka with a line protocol around it.  It
 * starts in milliseconds, needs no Java, and does what no real broker does on
 * request: refuse, stall, hang up.  See usage() for the commands.  The first
 * line of the output is "bootstrap HOST:PORT,...", and after that there is one
 * line, "ok" or "error: ...", for each line of input.
 *
 * What the mock cannot do is a matter for the tests with a real Kafka: it
 * keeps only the newest 5 MB of a partition, accepts any size of message, and
 * does not keep the state of transactions.
 */
#define _GNU_SOURCE /* for syscall() */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#if RD_KAFKA_VERSION < 0x02000000
#error "librdkafka 2.0 or newer is required"
#endif

#define MAX_WORDS      5
#define MAX_ERRORS     1000000
#define MAX_PARTITIONS 1000
#define ALL_BROKERS    (-1)

/* below those that Linux gives to outgoing connections */
#define PORT_MIN       10200
#define PORT_MAX       32767

typedef struct Command
{
	const char *name;
	int min_args;
	int max_args;
	const char *(*run)(char **args, int nargs);
	const char *help;
} Command;

static rd_kafka_mock_cluster_t *cluster;
static int num_brokers = 1;

/* The requests worth failing, by their number in the Kafka protocol. */
static const struct
{
	const char *name;
	int16_t key;
} apis[] = {
	{"Produce", 0},          {"Fetch", 1},
	{"ListOffsets", 2},      {"Metadata", 3},
	{"OffsetCommit", 8},     {"OffsetFetch", 9},
	{"FindCoordinator", 10}, {"JoinGroup", 11},
	{"Heartbeat", 12},       {"LeaveGroup", 13},
	{"SyncGroup", 14},       {"ApiVersion", 18},
	{"InitProducerId", 22},  {"AddPartitionsToTxn", 24},
	{"AddOffsetsToTxn", 25}, {"EndTxn", 26},
	{"TxnOffsetCommit", 28},
};

/*
 * Chooses the ports of the brokers; the library calls this one. The system would
 * choose them among those of outgoing connections: then a broker that is down
 * can lose its port to any of them, even to a client that tries to reach it.
 */
int
bind(int fd, const struct sockaddr *address, socklen_t length)
{
	struct sockaddr_in in = {0};
	int rc;

	memcpy(&in, address, length < sizeof(in) ? length : sizeof(in));
	if (in.sin_family != AF_INET || in.sin_port != 0)
		return (int) syscall(SYS_bind, fd, address, length);
	do
	{
		in.sin_port = htons(PORT_MIN + random() % (PORT_MAX - PORT_MIN + 1));
		rc = (int) syscall(SYS_bind, fd, &in, sizeof(in));
	} while (rc != 0 && errno == EADDRINUSE);
	return rc;
}

static bool
parse_int(const char *word, int min, int max, int *value)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(word, &end, 10);
	if (errno != 0 || end == word || *end != '\0' || number < min ||
		number > max)
		return false;
	*value = (int) number;
	return true;
}

/* A missing argument means all of them. */
static bool
parse_broker(char **args, int nargs, int i, int *broker)
{
	*broker = ALL_BROKERS;
	return i >= nargs || parse_int(args[i], 1, num_brokers, broker);
}

static bool
parse_api(const char *word, int16_t *key)
{
	int number;

	for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]); i++)
	{
		if (strcasecmp(word, apis[i].name) == 0)
		{
			*key = apis[i].key;
			return true;
		}
	}
	if (!parse_int(word, 0, INT16_MAX, &number))
		return false;
	*key = (int16_t) number;
	return true;
}

static bool
parse_error(const char *word, rd_kafka_resp_err_t *err)
{
	const struct rd_kafka_err_desc *descs;
	size_t count;
	int number;

	rd_kafka_get_err_descs(&descs, &count);
	for (size_t i = 0; i < count; i++)
	{
		if (descs[i].name != NULL && strcmp(word, descs[i].name) == 0)
		{
			*err = descs[i].code;
			return true;
		}
	}
	if (!parse_int(word, INT16_MIN, INT16_MAX, &number))
		return false;
	*err = (rd_kafka_resp_err_t) number;
	return true;
}

/* What a command returns: NULL for success, else what went wrong. */
static const char *
result(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL : rd_kafka_err2str(err);
}

static const char *
run_down(char **args, int nargs)
{
	int broker;

	if (!parse_broker(args, nargs, 0, &broker))
		return "no such broker";
	return result(rd_kafka_mock_broker_set_down(cluster, broker));
}

static const char *
run_up(char **args, int nargs)
{
	int broker;

	if (!parse_broker(args, nargs, 0, &broker))
		return "no such broker";
	return result(rd_kafka_mock_broker_set_up(cluster, broker));
}

/* Going down closes every connection, whatever is under way on it. */
static const char *
run_drop(char **args, int nargs)
{
	const char *failure = run_down(args, nargs);

	return failure != NULL ? failure : run_up(args, nargs);
}

static const char *
run_rtt(char **args, int nargs)
{
	int ms;
	int broker;

	if (!parse_int(args[0], 0, INT_MAX / 1000, &ms))
		return "invalid time";
	if (!parse_broker(args, nargs, 1, &broker))
		return "no such broker";
	return result(rd_kafka_mock_broker_set_rtt(cluster, broker, ms));
}

static const char *
run_fail(char **args, int nargs)
{
	int16_t key;
	int count;
	rd_kafka_resp_err_t err;
	rd_kafka_resp_err_t *errors;

	(void) nargs;
	if (!parse_api(args[0], &key))
		return "no such request";
	if (!parse_int(args[1], 1, MAX_ERRORS, &count))
		return "invalid count";
	if (!parse_error(args[2], &err))
		return "no such error";

	errors = malloc(count * sizeof(*errors));
	if (errors == NULL)
		return "out of memory";
	for (int i = 0; i < count; i++)
		errors[i] = err;
	rd_kafka_mock_push_request_errors_array(cluster, key, count, errors);
	free(errors);
	return NULL;
}

static const char *
run_clear(char **args, int nargs)
{
	int16_t key;

	(void) nargs;
	if (!parse_api(args[0], &key))
		return "no such request";
	rd_kafka_mock_clear_request_errors(cluster, key);
	return NULL;
}

static const char *
run_refuse(char **args, int nargs)
{
	rd_kafka_resp_err_t err;

	(void) nargs;
	if (!parse_error(args[1], &err))
		return "no such error";
	rd_kafka_mock_topic_set_error(cluster, args[0], err);
	return NULL;
}

static const char *
run_allow(char **args, int nargs)
{
	(void) nargs;
	rd_kafka_mock_topic_set_error(cluster, args[0],
								  RD_KAFKA_RESP_ERR_NO_ERROR);
	return NULL;
}

static const char *
run_leader(char **args, int nargs)
{
	int partition;
	int broker;

	(void) nargs;
	if (!parse_int(args[1], 0, MAX_PARTITIONS, &partition))
		return "invalid partition";
	/* -1 leaves the partition without a leader */
	if (!parse_int(args[2], -1, num_brokers, &broker) || broker == 0)
		return "no such broker";
	return result(rd_kafka_mock_partition_set_leader(cluster, args[0],
													 partition, broker));
}

static const char *
run_topic(char **args, int nargs)
{
	int partitions;

	(void) nargs;
	if (!parse_int(args[1], 1, MAX_PARTITIONS, &partitions))
		return "invalid number of partitions";
	return result(
		rd_kafka_mock_topic_create(cluster, args[0], partitions, num_brokers));
}

static const Command commands[] = {
	{"down", 0, 1, run_down,
	 "[BROKER]            close connections, open none"},
	{"up", 0, 1, run_up, "[BROKER]              accept connections again"},
	{"drop", 0, 1, run_drop, "[BROKER]            close connections, once"},
	{"rtt", 1, 2, run_rtt, "MS [BROKER]          delay every answer"},
	{"fail", 3, 3, run_fail,
	 "API COUNT ERROR     fail the next COUNT requests"},
	{"clear", 1, 1, run_clear,
	 "API                forget what \"fail\" asked"},
	{"refuse", 2, 2, run_refuse,
	 "TOPIC ERROR       fail the topic's metadata"},
	{"allow", 1, 1, run_allow, "TOPIC              undo \"refuse\""},
	{"leader", 3, 3, run_leader, "TOPIC PARTITION BROKER   -1: no leader"},
	{"topic", 2, 2, run_topic, "NAME PARTITIONS    create a topic"},
};

#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
usage(FILE *out)
{
	fprintf(
		out,
		"usage: mockbroker [--brokers N] [--topic NAME:PARTITIONS]... "
		"[--stay]\n"
		"Other topics are created when first asked for, with 4 partitions.\n"
		"Ends with its parent or its input, unless --stay is given.\n"
		"Commands, one a line of standard input:\n");
	for (size_t i = 0; i < NUM_COMMANDS; i++)
		fprintf(out, "  %s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "  quit\n");
}

static const char *
run_line(char *line)
{
	char *words[MAX_WORDS];
	int count = 0;
	char *word;
	char *rest = line;

	while ((word = strtok_r(rest, " \t\r\n", &rest)) != NULL)
	{
		if (count == MAX_WORDS)
			return "too many arguments";
		words[count++] = word;
	}
	if (count == 0)
		return "no command";

	for (size_t i = 0; i < NUM_COMMANDS; i++)
	{
		const Command *command = &commands[i];

		if (strcmp(words[0], command->name) != 0)
			continue;
		if (count - 1 < command->min_args || count - 1 > command->max_args)
			return "wrong number of arguments";
		return command->run(words + 1, count - 1);
	}
	return "no such command";
}

static void
answer_commands(void)
{
	char line[1024];

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		const char *failure;

		if (strcmp(line, "quit\n") == 0)
		{
			puts("ok");
			exit(0);
		}
		failure = run_line(line);
		if (failure == NULL)
			puts("ok");
		else
			printf("error: %s\n", failure);
		fflush(stdout);
	}
}

static void
create_topic(const char *option)
{
	char *name = strdup(option);
	char *colon = name == NULL ? NULL : strrchr(name, ':');
	const char *failure = "expected NAME:PARTITIONS";

	if (colon != NULL)
	{
		char *args[] = {name, colon + 1};

		*colon = '\0';
		failure = run_topic(args, 2);
	}
	if (failure != NULL)
	{
		fprintf(stderr, "mockbroker: topic \"%s\": %s\n", option, failure);
		exit(1);
	}
	free(name);
}

static void
start_cluster(void)
{
	char message[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk = NULL;

	/* Errors only: without brokers of its own it would warn of that. */
	if (rd_kafka_conf_set(conf, "log_level", "3", message, sizeof(message)) ==
		RD_KAFKA_CONF_OK)
		rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, message, sizeof(message));
	if (rk == NULL)
	{
		fprintf(stderr, "mockbroker: %s\n", message);
		exit(1);
	}
	cluster = rd_kafka_mock_cluster_new(rk, num_brokers);
	if (cluster == NULL)
	{
		fprintf(stderr, "mockbroker: could not start the brokers\n");
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	const char *topics[argc];
	int num_topics = 0;
	bool stay = false;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	srandom((unsigned) now.tv_nsec ^ (unsigned) getpid());

	for (int i = 1; i < argc; i++)
	{
		const char *value = argv[i + 1];

		if (strcmp(argv[i], "--stay") == 0)
			stay = true;
		else if (strcmp(argv[i], "--brokers") == 0 && value != NULL &&
				 parse_int(value, 1, 100, &num_brokers))
			i++;
		else if (strcmp(argv[i], "--topic") == 0 && value != NULL)
			topics[num_topics++] = argv[++i];
		else
		{
			usage(strcmp(argv[i], "--help") == 0 ? stdout : stderr);
			return strcmp(argv[i], "--help") == 0 ? 0 : 2;
		}
	}

	if (!stay)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	start_cluster();
	for (int i = 0; i < num_topics; i++)
		create_topic(topics[i]);
	printf("bootstrap %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);

	answer_commands();
	while (stay)
		pause();
	return 0;
}
