/*
 * What the measuring programs share: the settings of the yardsticks' producer
 * and consumer, which have to be the relay's and a subscription's, and small
 * things around them.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdint.h>
#include <librdkafka/rdkafka.h>

/* a uuid as text: where nobody looks at it, always the same */
#define EVENT_ID_SIZE 36
#define EVENT_ID      "01890a5d-ac96-774b-bcce-b302099a8057"

extern void die(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));
extern long number(const char *text, const char *what);
extern int64_t now_ns(void);
extern void fill(char *buffer, size_t size);
extern void set(rd_kafka_conf_t *conf, const char *name, const char *value);
extern rd_kafka_conf_t *producer_conf(const char *brokers, char **properties);
extern rd_kafka_conf_t *consumer_conf(const char *brokers, char **properties);
extern rd_kafka_t *new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf);
extern rd_kafka_resp_err_t produce(rd_kafka_t *rk, rd_kafka_topic_t *topic,
								   const char *key, const char *payload,
								   size_t size, const char *event_id);

#endif
