/*-------------------------------------------------------------------------
 *
 * client.c
 *	  What a producer and a consumer of the library have in common: how they
 *	  begin and end, and their events.
 *
 * librdkafka works in threads of its own. Nothing of ours runs in them, but for
 * connect.c, meter.c, tls.c and the partitioner of topics.c: all that happens
 * is an event of one queue, which poll() reads in the process's own thread.
 * When that queue becomes non-empty, librdkafka writes a byte into wake_fd.
 *
 * librdkafka blocks all signals in its threads, unless
 * internal.termination.signal is set, which kafka_rules.c refuses.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include "fmgr.h"
#include "portability/instr_time.h"

#include "compat.h"

PG_MODULE_MAGIC_EXT(.name = "outbox_kafka", .version = OUTBOX_VERSION);

/* how many closed clients may be left that do not end */
#define ENDING_MAX  8

/* how many threads the library may have, one for each broker that is named */
#define THREADS_MAX 2000

/* The last one with a meter could not be made: see open_library(). */
static bool refused = false;

const char *
outbox_kafka_version(void)
{
	return rd_kafka_version_str();
}

/* Have all closed clients ended? */
bool
outbox_kafka_has_ended(void)
{
	return outbox_kafka_ending() == 0;
}

/* Milliseconds of a clock that nobody sets */
int64
outbox_kafka_clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* Runs in a thread of its own, and may take long. */
static void
end_remains(void *arg)
{
	OutboxKafkaRemains *remains = arg;

	if (remains->query != NULL)
		outbox_kafka_query_destroy(remains->query);
	outbox_kafka_readings_free(remains->readings);
	if (remains->rk != NULL)
		rd_kafka_destroy_flags(remains->rk,
							   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	outbox_kafka_sensors_free(remains->sensors);
	free(remains->gate);
	outbox_kafka_meter_destroy(remains->meter);
	free(remains);
}

/* Ends it, or what there is of it. The caller does not use it any more. */
void
outbox_kafka_client_close(OutboxKafkaClient *client)
{
	if (client->event)
		rd_kafka_event_destroy(client->event);
	if (client->queue)
	{
		rd_kafka_queue_io_event_enable(client->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(client->queue);
	}
	if (client->rk)
	{
		outbox_kafka_gate_close(client->remains->gate);
		outbox_kafka_end(end_remains, client->remains);
	}
	else
		end_remains(client->remains);
	free(client->question);
}

static OutboxKafkaRemains *
make_remains(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	OutboxKafkaRemains *remains = calloc(1, sizeof(OutboxKafkaRemains));
	bool made = remains != NULL;

	if (made && conf != NULL)
	{
		rd_kafka_conf_set_opaque(conf, remains);
		remains->gate = outbox_kafka_gate_create(conf);
		made = remains->gate != NULL;
	}
	if (made && conf != NULL && type == RD_KAFKA_PRODUCER)
	{
		remains->meter = outbox_kafka_meter_create(conf, !refused);
		made = remains->meter != NULL;
	}
	if (!made)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("out of memory for a client of Kafka")));
	return remains;
}

/* Makes the library's client; NULL and a message if that is not possible. */
static rd_kafka_t *
open_library(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *error)
{
	rd_kafka_t *rk = rd_kafka_new(type, conf, error, OUTBOX_SINK_ERROR_MAX);

	if (rk == NULL)
	{
		/* the library has freed what interceptors have added, and would
		 * again: so a configuration with the meter's is left, and the next
		 * ones have none until one can be made */
		if (refused || type != RD_KAFKA_PRODUCER)
			rd_kafka_conf_destroy(conf);
		outbox_kafka_name_refusal(error);
	}
	if (type == RD_KAFKA_PRODUCER)
		refused = (rk == NULL);
	return rk;
}

/*
 * Opens a client, which is all zero; takes over conf. False and a message in
 * error (OUTBOX_SINK_ERROR_MAX) if that is not possible; if conf is NULL, there
 * is one already. Raises an error when out of memory, or when too many closed
 * clients have not ended: another process has to go on then.
 */
bool
outbox_kafka_client_open(OutboxKafkaClient *client, rd_kafka_type_t type,
						 rd_kafka_conf_t *conf, int wake_fd, char *error)
{
	if (outbox_kafka_ending() >= ENDING_MAX)
	{
		if (conf != NULL)
			rd_kafka_conf_destroy(conf);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("%d clients of Kafka do not end", ENDING_MAX),
				 errdetail("Their threads wait for a broker or for a name to "
						   "be looked up. Another process goes on.")));
	}
	client->remains = make_remains(type, conf);
	if (conf != NULL)
		client->rk = client->remains->rk = open_library(type, conf, error);
	if (client->rk == NULL)
	{
		outbox_kafka_client_close(client);
		return false;
	}

	rd_kafka_set_log_queue(client->rk, NULL);
	client->queue = rd_kafka_queue_get_main(client->rk);
	client->wake_fd = wake_fd;
	client->anonymous = outbox_kafka_is_anonymous(client->rk);
	rd_kafka_queue_io_event_enable(client->queue, wake_fd, "1", 1);
	client->query = client->remains->query =
		outbox_kafka_query_create(client->rk, wake_fd);
	client->now = outbox_kafka_clock_ms();
	return true;
}

/*
 * Is there an event to be handed out? It stays until it is done: messages point
 * into it.
 */
bool
outbox_kafka_client_next(OutboxKafkaClient *client)
{
	if (client->event != NULL)
		return true;
	client->told = false;
	client->now = outbox_kafka_clock_ms();
	client->event = rd_kafka_queue_poll(client->queue, 0);
	return client->event != NULL;
}

/* The event has no more parts. */
void
outbox_kafka_client_done(OutboxKafkaClient *client)
{
	rd_kafka_event_destroy(client->event);
	client->event = NULL;
	if (client->got_on)
		outbox_kafka_gate_open_wide();
	client->got_on = false;
}

/* Brokers can name ever more brokers, and the library starts a thread for each
 * name: tells once that there are too many. */
bool
outbox_kafka_client_is_crowded(OutboxKafkaClient *client,
							   OutboxKafkaReport *report)
{
	if (client->crowded || rd_kafka_thread_cnt() <= THREADS_MAX)
		return false;
	client->crowded = true;
	outbox_kafka_report_fatal(client, "the brokers name too many brokers",
							  report);
	return true;
}
