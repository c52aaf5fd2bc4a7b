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

#include "port/pg_bitutils.h"

/* the library's name for requests that carry records */
#define API_PRODUCE       0

/* Four buckets of round trips for each power of two of microseconds. What
 * takes more than an hour counts as an hour. */
#define ROUND_TRIP_MAX_US INT64CONST(3600000000)
#define BUCKETS           128

struct OutboxKafkaMeter
{
	pthread_mutex_t mutex; /* guards what follows */
	/* since it was read last */
	int64 answers;
	int64 sum_us;
	int64 throttles;
	int64 throttle_sum_ms;
	int64 throttle_max_ms;
	uint32 buckets[BUCKETS];
};

/* Those below 4 us are in the first one. */
static int
bucket_of(int64 us)
{
	int power = pg_leftmost_one_pos64((uint64) Max(us, 4));

	return (power - 2) * 4 + (int) (Max(us, 4) >> (power - 2) & 3);
}

/* What all round trips in it are below */
static int64
bucket_end(int bucket)
{
	return (int64) (bucket % 4 + 5) << bucket / 4;
}

/* How long so many percent of them have taken at most */
static int64
percentile(const OutboxKafkaMeter *meter, int percent)
{
	int64 above = meter->answers * (100 - percent) / 100;
	int bucket = BUCKETS - 1;

	while (bucket > 0 && above >= meter->buckets[bucket])
		above -= meter->buckets[bucket--];
	return bucket_end(bucket);
}

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
	round_trip_us = Min(round_trip_us, ROUND_TRIP_MAX_US);
	pthread_mutex_lock(&meter->mutex);
	meter->answers++;
	meter->sum_us += round_trip_us;
	meter->buckets[bucket_of(round_trip_us)]++;
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
	answers = meter->answers;
	if (answers > 0)
	{
		statistics->round_trip_us = meter->sum_us / answers;
		statistics->round_trip_p99_us = percentile(meter, 99);
		/* some of them are told in answers to other requests */
		statistics->throttle_ms =
			meter->throttle_sum_ms / Max(answers, meter->throttles);
		statistics->throttle_max_ms = meter->throttle_max_ms;
		meter->answers = meter->sum_us = 0;
		meter->throttles = 0;
		meter->throttle_sum_ms = meter->throttle_max_ms = 0;
		memset(meter->buckets, 0, sizeof(meter->buckets));
	}
	pthread_mutex_unlock(&meter->mutex);
	return answers > 0;
}
