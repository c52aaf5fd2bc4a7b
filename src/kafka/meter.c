/*-------------------------------------------------------------------------
 *
 * meter.c
 *	  How long brokers take to answer, and how long they make us wait.
 *
 * The library's own statistics would tell that, too, but wake an idle relay
 * each time, and are a text with all that is known of each partition. What is
 * wanted of them is taken here, where it arises: an interceptor sees each
 * answer, in a thread of the library, and what a broker says of throttling
 * comes through poll, in the relay's own. Nothing of PostgreSQL is called
 * here.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <pthread.h>

#include "shared/histogram.h"

/* the library's name for requests that carry records */
#define API_PRODUCE       0

/* what takes more than an hour counts as an hour */
#define ROUND_TRIP_MAX_US INT64CONST(3600000000)

struct OutboxKafkaMeter
{
	pthread_mutex_t mutex; /* guards what follows */
	/* since it was read last */
	OutboxHistogram round_trips;
	int64 throttles;
	int64 throttle_sum_ms;
	int64 throttle_max_ms;
};

/* A broker has answered a request; in a thread of the library. */
static rd_kafka_resp_err_t
answered(rd_kafka_t *rk pg_attribute_unused(),
		 int sockfd pg_attribute_unused(),
		 const char *broker pg_attribute_unused(),
		 int32_t broker_id pg_attribute_unused(), int16_t api,
		 int16_t api_version pg_attribute_unused(),
		 int32_t number pg_attribute_unused(),
		 size_t bytes pg_attribute_unused(), int64_t round_trip_us,
		 rd_kafka_resp_err_t code, void *arg)
{
	OutboxKafkaMeter *meter = arg;

	if (api != API_PRODUCE || code != RD_KAFKA_RESP_ERR_NO_ERROR ||
		round_trip_us < 0)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	pthread_mutex_lock(&meter->mutex);
	outbox_histogram_add(&meter->round_trips,
						 Min(round_trip_us, ROUND_TRIP_MAX_US));
	pthread_mutex_unlock(&meter->mutex);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Interceptors of answers can only be added to a producer that is there. */
static rd_kafka_resp_err_t
watch_answers(rd_kafka_t *rk,
			  const rd_kafka_conf_t *conf pg_attribute_unused(), void *arg,
			  char *error pg_attribute_unused(),
			  size_t error_size pg_attribute_unused())
{
	return rd_kafka_interceptor_add_on_response_received(rk, OUTBOX_EXTENSION,
														 answered, arg);
}

/* A broker has made us wait; in the relay's thread. The library tells it of
 * each answer, but for those after which nothing has to wait. */
static void
throttled(rd_kafka_t *rk pg_attribute_unused(),
		  const char *broker pg_attribute_unused(),
		  int32_t broker_id pg_attribute_unused(), int throttle_ms,
		  void *opaque)
{
	OutboxKafkaMeter *meter = ((OutboxKafkaRemains *) opaque)->meter;

	/* a broker may say anything */
	throttle_ms = Max(throttle_ms, 0);
	pthread_mutex_lock(&meter->mutex);
	meter->throttles++;
	meter->throttle_sum_ms += throttle_ms;
	meter->throttle_max_ms = Max(meter->throttle_max_ms, throttle_ms);
	pthread_mutex_unlock(&meter->mutex);
}

/* One for a producer that is to be made; NULL if out of memory. Without watch
 * it sees no answers. */
OutboxKafkaMeter *
outbox_kafka_meter_create(rd_kafka_conf_t *conf, bool watch)
{
	OutboxKafkaMeter *meter = calloc(1, sizeof(OutboxKafkaMeter));

	if (meter == NULL)
		return NULL;
	pthread_mutex_init(&meter->mutex, NULL);
	if (watch)
		rd_kafka_conf_interceptor_add_on_new(conf, OUTBOX_EXTENSION,
											 watch_answers, meter);
	rd_kafka_conf_set_throttle_cb(conf, throttled);
	return meter;
}

/* When the producer has ended; it may be NULL. */
void
outbox_kafka_meter_destroy(OutboxKafkaMeter *meter)
{
	if (meter != NULL)
		pthread_mutex_destroy(&meter->mutex);
	free(meter);
}

/* Reads it, and begins anew. False if there have been no answers. */
bool
outbox_kafka_meter_read(OutboxKafkaMeter *meter,
						OutboxSinkStatistics *statistics)
{
	int64 answers;

	pthread_mutex_lock(&meter->mutex);
	answers = (int64) meter->round_trips.count;
	if (answers > 0)
	{
		statistics->round_trip_us =
			(int64) meter->round_trips.sum_us / answers;
		statistics->round_trip_p99_us = (int64) rint(
			outbox_histogram_quantile(&meter->round_trips, 0.99) * 1e6);
		/* some of them are told in answers to other requests */
		statistics->throttle_ms =
			meter->throttle_sum_ms / Max(answers, meter->throttles);
		statistics->throttle_max_ms = meter->throttle_max_ms;
		meter->throttles = 0;
		meter->throttle_sum_ms = meter->throttle_max_ms = 0;
		memset(&meter->round_trips, 0, sizeof(meter->round_trips));
	}
	pthread_mutex_unlock(&meter->mutex);
	return answers > 0;
}
