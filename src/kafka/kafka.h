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

#include "outbox.h"

#include "sink/sink.h"

#if RD_KAFKA_VERSION < 0x02000000
#error "outbox needs librdkafka 2.0 or newer"
#endif

typedef struct OutboxKafkaTopic OutboxKafkaTopic;
typedef struct OutboxKafkaTopics OutboxKafkaTopics;
typedef struct OutboxKafkaQuery OutboxKafkaQuery;
typedef struct OutboxKafkaSensor OutboxKafkaSensor;
typedef struct OutboxKafkaGate OutboxKafkaGate;
typedef struct OutboxKafkaMeter OutboxKafkaMeter;

/* What is left of a sink while its producer ends, and what the producer's
 * callbacks are given; not palloc'd */
typedef struct OutboxKafkaRemains
{
	rd_kafka_t *rk;
	OutboxKafkaGate *gate;
	OutboxKafkaMeter *meter;
	OutboxKafkaQuery *query;
	OutboxKafkaSensor *sensors;
} OutboxKafkaRemains;

/* A record that waits, or that comes back without having been sent */
typedef struct OutboxKafkaHeld
{
	struct OutboxKafkaHeld *next;
	OutboxKafkaTopic *topic;
	rd_kafka_resp_err_t code; /* why it comes back */
	OutboxRecord record;
} OutboxKafkaHeld;

/* First in, first out */
typedef struct OutboxKafkaQueue
{
	OutboxKafkaHeld *first;
	OutboxKafkaHeld *last;
} OutboxKafkaQueue;

typedef struct OutboxKafkaPartition
{
	int in_flight;     /* records with a key that the library has */
	int64 known_until; /* ms; until then it refuses what is out of sequence */
	int64 next_offset; /* behind what it has acknowledged */
	OutboxKafkaQueue held;
} OutboxKafkaPartition;

struct OutboxKafkaTopic
{
	char name[OUTBOX_TOPIC_MAX + 1];
	rd_kafka_topic_t *handle;
	OutboxKafkaSensor *sensor;
	rd_kafka_resp_err_t failed; /* until all of its records are back */
	int in_flight;              /* records that the library has */
	int keyed;                  /* those of them with a key */
	int held;             /* records that are held, or on their way back */
	int64 last_result_at; /* ms; the last answer */
	int count;            /* of partitions; 0 = not known */
	int next_count;       /* once no record with a key is out; 0 = the same */
	bool asking;          /* the brokers have been asked about it */
	bool telling;         /* and the relay wants to know */
	OutboxKafkaPartition any; /* stands for all, while count is 0 */
	OutboxKafkaPartition *partitions;
};

/* About a topic, and what the brokers say; malloc'ed */
typedef struct OutboxKafkaQuestion
{
	struct OutboxKafkaQuestion *next;
	char topic[OUTBOX_TOPIC_MAX + 1];
	rd_kafka_resp_err_t code; /* the topic's, or why there is no answer */
	int count;                /* of partitions */
	int32 leaderless;         /* one of them; -1 = none */
} OutboxKafkaQuestion;

/* Partitions of a topic, by number */
#define OUTBOX_KAFKA_ALL  (-1)
#define OUTBOX_KAFKA_NONE (-2)

struct OutboxSink
{
	rd_kafka_t *rk;
	OutboxKafkaRemains *remains;
	bool got_on;    /* by an answer: see connect.c */
	bool served;    /* something has been published */
	bool anonymous; /* we have no certificate */
	bool crowded;   /* there are too many brokers */
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event; /* being handed out */
	bool told;               /* it has no more parts */
	bool ended;              /* nothing more is published */
	bool keys_once;          /* keys have no order: see sink.h */
	int wake_fd;
	int64 now;           /* ms of a clock that nobody sets */
	int64 count_ms;      /* for so long the number of partitions is believed */
	int64 count_at;      /* when it is asked for */
	int64 statistics_at; /* when they may be told again */
	OutboxSinkStatistics statistics; /* told last */
	OutboxKafkaTopics *topics;
	OutboxKafkaQuery *query;
	OutboxKafkaQuestion *question; /* whose answer was told last */
	MemoryContext context;         /* of partitions and held records */
	int held_count;
	bool stalled;               /* the library had no room for one of them */
	OutboxKafkaQueue returning; /* to be told */
	OutboxKafkaHeld *returned;  /* told last */
	char certificate[OUTBOX_SINK_ERROR_MAX]; /* of a broker: see tls.c */
	char message[OUTBOX_SINK_ERROR_MAX];
};

/* settings.c */
extern rd_kafka_conf_t *outbox_kafka_conf(const OutboxSinkConfig *config,
										  char *error);

/* connect.c */
extern OutboxKafkaGate *outbox_kafka_gate_create(rd_kafka_conf_t *conf);
extern void outbox_kafka_gate_close(OutboxKafkaGate *gate);
extern void outbox_kafka_gate_open_wide(void);

/* meter.c */
extern OutboxKafkaMeter *outbox_kafka_meter_create(rd_kafka_conf_t *conf,
												   bool watch);
extern void outbox_kafka_meter_destroy(OutboxKafkaMeter *meter);
extern bool outbox_kafka_meter_read(OutboxKafkaMeter *meter,
									OutboxSinkStatistics *statistics);

/* ending.c */
extern void outbox_kafka_end(void (*end)(void *), void *arg);
extern int outbox_kafka_ending(void);

/* tls.c */
extern const OutboxTroubleWords outbox_kafka_words[OUTBOX_TROUBLES];
extern void outbox_kafka_tls_init(rd_kafka_conf_t *conf);
extern void outbox_kafka_tls_log(OutboxSink *sink, const char *facility,
								 const char *text);
extern void outbox_kafka_name_refusal(char *error);
extern bool outbox_kafka_is_anonymous(rd_kafka_t *rk);
extern OutboxTrouble outbox_kafka_log_trouble(OutboxSink *sink,
											  const char *facility,
											  const char *text, int level);
extern OutboxTrouble outbox_kafka_trouble(OutboxSink *sink,
										  rd_kafka_resp_err_t code,
										  const char **message);

/* token.c */
extern bool outbox_kafka_is_of_tokens(const char *facility);
extern void outbox_kafka_copy_harmless(char *to, size_t size,
									   const char *from);
extern OutboxTrouble outbox_kafka_token_trouble(OutboxSink *sink,
												const char **message);

/* errors.c */
extern OutboxFailure outbox_kafka_failure(rd_kafka_resp_err_t code);
extern void outbox_kafka_message(rd_kafka_resp_err_t code, char *message);

/* poll.c */
extern bool outbox_kafka_is_same_message(const char *a, const char *b);
extern bool outbox_kafka_poll(OutboxSink *sink, OutboxSinkEvent *event);

/* producer.c */
extern int64 outbox_kafka_clock_ms(void);

/* topics.c */
extern OutboxKafkaTopics *outbox_kafka_topics_create(const char *partitioner);
extern bool outbox_kafka_topics_full(OutboxKafkaTopics *topics);
extern OutboxKafkaTopic *outbox_kafka_topic(OutboxKafkaTopics *topics,
											rd_kafka_t *rk, const char *name);
extern OutboxKafkaTopic *outbox_kafka_topic_of(const rd_kafka_topic_t *handle);
extern int outbox_kafka_seen(const OutboxKafkaTopic *topic);
extern int32 outbox_kafka_choose(const OutboxKafkaTopic *topic,
								 const void *key, int key_bytes);
extern void outbox_kafka_topics_each(OutboxKafkaTopics *topics,
									 void (*call)(OutboxKafkaTopic *topic,
												  void *arg),
									 void *arg);
extern OutboxKafkaSensor *
outbox_kafka_topics_destroy(OutboxKafkaTopics *topics);
extern void outbox_kafka_sensors_free(OutboxKafkaSensor *sensors);

/* known.c */
extern OutboxKafkaPartition *
outbox_kafka_partition(OutboxSink *sink, OutboxKafkaTopic *topic,
					   const OutboxRecord *record);
extern int32
outbox_kafka_partition_number(const OutboxKafkaTopic *topic,
							  const OutboxKafkaPartition *partition);
extern bool outbox_kafka_may_send(const OutboxSink *sink,
								  const OutboxKafkaTopic *topic,
								  const OutboxKafkaPartition *partition);
extern void outbox_kafka_sent(OutboxKafkaTopic *topic,
							  OutboxKafkaPartition *partition);
extern int32 outbox_kafka_answered(OutboxSink *sink, OutboxKafkaTopic *topic,
								   const rd_kafka_message_t *message);
extern void outbox_kafka_set_count(OutboxSink *sink, OutboxKafkaTopic *topic,
								   int count);
extern void outbox_kafka_counted(OutboxSink *sink, OutboxKafkaTopic *topic,
								 int count);

/* record.c */
extern rd_kafka_resp_err_t
outbox_kafka_produce(OutboxSink *sink, OutboxKafkaTopic *topic,
					 OutboxKafkaPartition *partition,
					 const OutboxRecord *record);

/* queue.c */
extern void outbox_kafka_append(OutboxKafkaQueue *queue,
								OutboxKafkaQueue *more);
extern void outbox_kafka_push(OutboxKafkaQueue *queue, OutboxKafkaHeld *held);
extern OutboxKafkaHeld *outbox_kafka_pop(OutboxKafkaQueue *queue);

/* hold.c */
extern void outbox_kafka_hold(OutboxSink *sink, OutboxKafkaTopic *topic,
							  OutboxKafkaPartition *partition,
							  const OutboxRecord *record);
extern void outbox_kafka_release(OutboxSink *sink, OutboxKafkaTopic *topic,
								 int32 number);
extern void outbox_kafka_release_stalled(OutboxSink *sink);
extern void outbox_kafka_topic_failed(OutboxSink *sink,
									  OutboxKafkaTopic *topic,
									  rd_kafka_resp_err_t code);
extern void outbox_kafka_stop(OutboxSink *sink);
extern OutboxKafkaHeld *outbox_kafka_next_returned(OutboxSink *sink);

/* ask.c */
extern void outbox_kafka_ask_topic(OutboxSink *sink, const char *name);
extern void outbox_kafka_ask_counts(OutboxSink *sink);
extern bool outbox_kafka_make_answer(OutboxSink *sink, OutboxSinkEvent *event);

/* query.c */
extern OutboxKafkaQuery *outbox_kafka_query_create(rd_kafka_t *rk,
												   int wake_fd);
extern void outbox_kafka_query_ask(OutboxKafkaQuery *query, const char *topic);
extern OutboxKafkaQuestion *outbox_kafka_query_next(OutboxKafkaQuery *query);
extern void outbox_kafka_query_destroy(OutboxKafkaQuery *query);

#endif /* OUTBOX_KAFKA_H */
