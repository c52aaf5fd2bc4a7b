/*-------------------------------------------------------------------------
 *
 * kafka.h
 *	  Inside outbox_kafka.so, the only place that knows librdkafka.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_KAFKA_H
#define OUTBOX_KAFKA_H

#include "postgres.h"

#include <librdkafka/rdkafka.h>

#include "../sink.h"

#if RD_KAFKA_VERSION < 0x02000000
#error "outbox needs librdkafka 2.0 or newer"
#endif

extern rd_kafka_conf_t *outbox_kafka_conf(const OutboxSinkConfig *config,
										  char *error);

typedef struct OutboxKafkaGate OutboxKafkaGate;

extern OutboxKafkaGate *outbox_kafka_gate_create(rd_kafka_conf_t *conf);
extern void outbox_kafka_gate_close(OutboxKafkaGate *gate);
extern void outbox_kafka_gate_open_wide(void);

extern void outbox_kafka_end(void (*end)(void *), void *arg);
extern int outbox_kafka_ending(void);

extern OutboxFailure outbox_kafka_failure(rd_kafka_resp_err_t code);
extern void outbox_kafka_message(rd_kafka_resp_err_t code, char *message);

typedef struct OutboxKafkaTopics OutboxKafkaTopics;

extern OutboxKafkaTopics *outbox_kafka_topics_create(const char *partitioner);
extern rd_kafka_topic_t *outbox_kafka_topics_get(OutboxKafkaTopics *topics,
												 rd_kafka_t *rk,
												 const char *name);
extern bool outbox_kafka_topics_must_wait(OutboxKafkaTopics *topics,
										  const char *name, const void *key,
										  size_t key_bytes);
extern void outbox_kafka_topics_sent(OutboxKafkaTopics *topics,
									 const char *name, const void *key,
									 size_t key_bytes);
extern void outbox_kafka_topics_answered(OutboxKafkaTopics *topics,
										 rd_kafka_t *rk, const char *name,
										 const void *key, size_t key_bytes,
										 bool delivered);
extern void outbox_kafka_topics_destroy(OutboxKafkaTopics *topics);

#endif /* OUTBOX_KAFKA_H */
