/*
 * produce.c
 *		Publishes what lines of its input say, for the tests of subscriptions.
 *
 * A line is a record, in the text format of COPY (tab, backslash, \N = NULL),
 * as consumer.c prints them but for what the broker decides:
 *		topic partition key payload [name value]...
 * A partition of "-" is chosen by the key.  For each line there is one of
 * output, in the same order, when the broker has acknowledged the record:
 * "topic partition offset", or "error: ...".  These lines are commands:
 *		\F						waits until all before has been acknowledged
 *		\B, \C, \A				begins, commits, aborts a transaction, with
 *								-X transactional.id=...
 *		\T MS					from now on, that is the records' time, in ms
 *								since 1970; 0 = as it is
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <librdkafka/rdkafka.h>

#define TIMEOUT_MS 30000

/* What becomes of one line; in a list, the oldest first */
typedef struct Fate
{
	struct Fate *next;
	bool known;
	char text[512];
} Fate;

static rd_kafka_t *rk;
static int64_t timestamp = 0;
static Fate *first;
static Fate **last = &first;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "produce: %s: %s\n", what, why);
	exit(1);
}

static void
check(const char *what, rd_kafka_error_t *error)
{
	if (error != NULL)
		die(what, rd_kafka_error_string(error));
}

/* Prints what is known, up to the first line of which nothing is. */
static void
print_fates(void)
{
	while (first != NULL && first->known)
	{
		Fate *fate = first;

		puts(fate->text);
		first = fate->next;
		if (first == NULL)
			last = &first;
		free(fate);
	}
	fflush(stdout);
}

static void
delivered(rd_kafka_t *producer, const rd_kafka_message_t *message,
		  void *opaque)
{
	Fate *fate = message->_private;

	(void) producer;
	(void) opaque;
	if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		snprintf(fate->text, sizeof(fate->text), "error: %s",
				 rd_kafka_err2str(message->err));
	else
		snprintf(fate->text, sizeof(fate->text), "%s\t%" PRId32 "\t%" PRId64,
				 rd_kafka_topic_name(message->rkt), message->partition,
				 message->offset);
	fate->known = true;
}

/* Makes a field what it means, in place; its length in *size. NULL if it is. */
static char *
unescape(char *field, size_t *size)
{
	char *to = field;

	if (strcmp(field, "\\N") == 0)
	{
		*size = 0;
		return NULL;
	}
	for (const char *from = field; *from != '\0'; from++)
	{
		if (*from != '\\')
		{
			*to++ = *from;
			continue;
		}
		switch (*++from)
		{
			case 't':
				*to++ = '\t';
				break;
			case 'n':
				*to++ = '\n';
				break;
			case 'r':
				*to++ = '\r';
				break;
			case 'x':
				if (from[1] == '\0' || from[2] == '\0')
					die("bad line", "\\x needs two digits");
				*to++ =
					(char) strtol((char[]){from[1], from[2], '\0'}, NULL, 16);
				from += 2;
				break;
			case '\0':
				die("bad line", "a backslash at its end");
				break;
			default:
				*to++ = *from;
		}
	}
	*size = (size_t) (to - field);
	return field;
}

static rd_kafka_headers_t *
make_headers(char **rest)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
	char *name;
	char *value;

	while ((name = strsep(rest, "\t")) != NULL &&
		   (value = strsep(rest, "\t")) != NULL)
	{
		size_t name_size;
		size_t value_size;

		name = unescape(name, &name_size);
		value = unescape(value, &value_size);
		if (name == NULL)
			die("bad line", "a header without a name");
		/* -1 would be a length that the library finds out */
		rd_kafka_header_add(headers, name, (ssize_t) name_size, value,
							(ssize_t) value_size);
	}
	return headers;
}

static void
produce(char *line)
{
	Fate *fate = calloc(1, sizeof(Fate));
	char *rest = line;
	char *topic = strsep(&rest, "\t");
	char *partition = strsep(&rest, "\t");
	char *key = strsep(&rest, "\t");
	char *payload = strsep(&rest, "\t");
	int32_t number = RD_KAFKA_PARTITION_UA;
	size_t key_size;
	size_t payload_size;
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t err;

	if (payload == NULL || fate == NULL)
		die("bad line", topic);
	if (strcmp(partition, "-") != 0)
		number = atoi(partition);
	key = unescape(key, &key_size);
	payload = unescape(payload, &payload_size);
	headers = make_headers(&rest);
	*last = fate;
	last = &fate->next;
	do
	{
		err = rd_kafka_producev(
			rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(number),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
			RD_KAFKA_V_KEY(key, key_size),
			RD_KAFKA_V_VALUE(payload, payload_size),
			RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_TIMESTAMP(timestamp),
			RD_KAFKA_V_OPAQUE(fate), RD_KAFKA_V_END);
		rd_kafka_poll(rk, err == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 10 : 0);
	} while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		rd_kafka_headers_destroy(headers);
		snprintf(fate->text, sizeof(fate->text), "error: %s",
				 rd_kafka_err2str(err));
		fate->known = true;
	}
	print_fates();
}

static void
run_command(char command)
{
	if (command != 'F' && command != 'B' && command != 'C' && command != 'A')
		die("bad line", "an unknown command");
	if (command == 'B')
		check("begin", rd_kafka_begin_transaction(rk));
	else if (rd_kafka_flush(rk, TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("flush", "it takes too long");
	if (command == 'C')
		check("commit", rd_kafka_commit_transaction(rk, TIMEOUT_MS));
	else if (command == 'A')
		check("abort", rd_kafka_abort_transaction(rk, TIMEOUT_MS));
	rd_kafka_poll(rk, 0);
	print_fates();
}

static void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char message[512];

	if (rd_kafka_conf_set(conf, name, value, message, sizeof(message)) !=
		RD_KAFKA_CONF_OK)
		die(name, message);
}

/* Returns whether it can have transactions. */
static bool
start(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char message[512];
	bool transactions = false;
	int i;

	set_property(conf, "message.max.bytes", "1000000000");
	set_property(conf, "queue.buffering.max.kbytes", "2000000");
	set_property(conf, "partitioner", "murmur2_random");
	set_property(conf, "enable.idempotence", "true");
	set_property(conf, "linger.ms", "5");
	set_property(conf, "log_level", "3");
	for (i = 1; i + 1 < argc && strcmp(argv[i], "-X") == 0; i += 2)
	{
		char *value = strchr(argv[i + 1], '=');

		if (value == NULL)
			die("no property", argv[i + 1]);
		*value++ = '\0';
		set_property(conf, argv[i + 1], value);
		transactions |= strcmp(argv[i + 1], "transactional.id") == 0;
	}
	if (i != argc - 1)
	{
		fprintf(stderr, "usage: produce [-X NAME=VALUE]... BOOTSTRAP\n");
		exit(2);
	}
	set_property(conf, "bootstrap.servers", argv[i]);
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, message, sizeof(message));
	if (rk == NULL)
		die("could not start", message);
	return transactions;
}

int
main(int argc, char **argv)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (start(argc, argv))
		check("transactions", rd_kafka_init_transactions(rk, TIMEOUT_MS));
	while ((size = getline(&line, &room, stdin)) > 0)
	{
		if (line[size - 1] == '\n')
			line[size - 1] = '\0';
		if (line[0] == '\\' && line[1] == 'T')
			timestamp = strtoll(line + 2, NULL, 10);
		else if (line[0] == '\\')
			run_command(line[1]);
		else
			produce(line);
	}
	run_command('F');
	free(line);
	rd_kafka_destroy(rk);
	return fflush(stdout) == 0 ? 0 : 1;
}
