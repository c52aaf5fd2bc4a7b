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
#include "source/source.h"

#if RD_KAFKA_VERSION < 0x02000000
#error "outbox needs librdkafka 2.0 or newer"
#endif

typedef struct OutboxKafkaTopic OutboxKafkaTopic;
typedef struct OutboxKafkaTopics OutboxKafkaTopics;
typedef struct OutboxKafkaQuery OutboxKafkaQuery;
typedef struct OutboxKafkaSensor OutboxKafkaSensor;
typedef struct OutboxKafkaGate OutboxKafkaGate;
typedef struct OutboxKafkaMeter OutboxKafkaMeter;
typedef struct OutboxKafkaReadings OutboxKafkaReadings;

/* What is left of a sink or a source while its client ends, and what the
 * client's callbacks are given; not palloc'd */
typedef struct OutboxKafkaRemains
{
	rd_kafka_t *rk;
	OutboxKafkaGate *gate;
	OutboxKafkaMeter *meter; /* of a producer */
	OutboxKafkaQuery *query;
	OutboxKafkaSensor *sensors;    /* of a producer */
	OutboxKafkaReadings *readings; /* of a consumer */
} OutboxKafkaRemains;

/* What a producer and a consumer have in common */
typedef struct OutboxKafkaClient
{
	rd_kafka_t *rk;
	OutboxKafkaRemains *remains;
	bool got_on;    /* by an answer: see connect.c */
	bool served;    /* something has been published, or read */
	bool anonymous; /* we have no certificate */
	bool crowded;   /* there are too many brokers */
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event; /* being handed out */
	bool told;               /* it has no more parts */
	int wake_fd;
	int64 now; /* ms of a clock that nobody sets */
	OutboxKafkaQuery *query;
	struct OutboxKafkaQuestion *question;    /* whose answer was told last */
	char certificate[OUTBOX_SINK_ERROR_MAX]; /* of a broker: see tls.c */
	char message[OUTBOX_SINK_ERROR_MAX];
} OutboxKafkaClient;

/* What the library says, beside what was asked of it */
typedef enum OutboxKafkaNews
{
	OUTBOX_KAFKA_LOST,        /* a broker cannot be reached */
	OUTBOX_KAFKA_UNREACHABLE, /* none can be */
	OUTBOX_KAFKA_FATAL,       /* this client does nothing any more */
	OUTBOX_KAFKA_LOG,
} OutboxKafkaNews;

typedef struct OutboxKafkaReport
{
	OutboxKafkaNews news;
	OutboxFailure failure;
	OutboxTrouble trouble;
	int log_level;
	const char *message; /* valid until the next event */
} OutboxKafkaReport;

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

/* About a topic, or an offset of a partition, and what the brokers say;
 * malloc'ed */
typedef struct OutboxKafkaQuestion
{
	struct OutboxKafkaQuestion *next;
	char topic[OUTBOX_TOPIC_MAX + 1];
	int32 partition;          /* -1 = it is about the topic */
	rd_kafka_resp_err_t code; /* the topic's, or why there is no answer */
	int count;                /* of partitions */
	int32 leaderless;         /* one of them; -1 = none */
	int64 time; /* of an offset: ms, or RD_KAFKA_OFFSET_BEGINNING, _END */
	int64 offset;
} OutboxKafkaQuestion;

/* Partitions of a topic, by number */
#define OUTBOX_KAFKA_ALL  (-1)
#define OUTBOX_KAFKA_NONE (-2)

struct OutboxSink
{
	OutboxKafkaClient client;
	bool ended;          /* nothing more is published */
	bool keys_once;      /* keys have no order: see sink.h */
	int64 count_ms;      /* for so long the number of partitions is believed */
	int64 count_at;      /* when it is asked for */
	int64 statistics_at; /* when they may be told again */
	OutboxSinkStatistics statistics; /* told last */
	OutboxKafkaTopics *topics;
	MemoryContext context; /* of partitions and held records */
	int held_count;
	bool stalled;               /* the library had no room for one of them */
	OutboxKafkaQueue returning; /* to be told */
	OutboxKafkaHeld *returned;  /* told last */
};

/* One partition that a consumer reads, or has read */
typedef struct OutboxKafkaReading
{
	bool wanted;    /* it has been started, and not been stopped */
	bool running;   /* the library has been told to read it */
	bool missing;   /* it is not, until the brokers have that partition */
	bool asking;    /* for an offset of it */
	int64 next;     /* no message before it is told */
	int64 retry_at; /* ms; when the library is told again; 0 = it is not */
	int64 done;     /* an offset to be told to the broker; -1 = none */
} OutboxKafkaReading;

/* A topic of a consumer; malloc'ed, as all of readings.c */
typedef struct OutboxKafkaReadTopic
{
	struct OutboxKafkaReadTopic *next;
	char name[OUTBOX_TOPIC_MAX + 1];
	rd_kafka_topic_t *handle;
	bool asking; /* the brokers have been asked about it */
	int count;
	OutboxKafkaReading *readings; /* by their partition's number */
} OutboxKafkaReadTopic;

struct OutboxKafkaReadings
{
	OutboxKafkaReadTopic *topics;
	OutboxKafkaReadTopic *last; /* a run of messages often has one topic */
};

struct OutboxSource
{
	OutboxKafkaClient client;
	OutboxKafkaReadings *readings;
	const char *group;   /* whose offsets are told */
	int64 retry_at;      /* the least of the partitions' ones; 0 = none */
	bool has_done;       /* there are offsets to be told, ... */
	bool telling;        /* and some are on their way */
	int64 telling_since; /* ms */
	MemoryContext context;
	OutboxSourceMessage data; /* told last */
	OutboxHeader *headers;    /* of it */
	int header_room;
};

/* settings.c */
extern rd_kafka_conf_t *outbox_kafka_sink_conf(const OutboxSinkConfig *config,
											   char *error);
extern rd_kafka_conf_t *
outbox_kafka_source_conf(const OutboxSourceConfig *config, char *error);

/* client.c */
extern bool outbox_kafka_client_open(OutboxKafkaClient *client,
									 rd_kafka_type_t type,
									 rd_kafka_conf_t *conf, int wake_fd,
									 char *error);
extern void outbox_kafka_client_close(OutboxKafkaClient *client);
extern bool outbox_kafka_client_next(OutboxKafkaClient *client);
extern void outbox_kafka_client_done(OutboxKafkaClient *client);
extern bool outbox_kafka_client_is_crowded(OutboxKafkaClient *client,
										   OutboxKafkaReport *report);
extern int64 outbox_kafka_clock_ms(void);
extern const char *outbox_kafka_version(void);
extern bool outbox_kafka_has_ended(void);

/* report.c */
extern void outbox_kafka_report_error(OutboxKafkaClient *client,
									  OutboxKafkaReport *report);
extern void outbox_kafka_report_log(OutboxKafkaClient *client,
									OutboxKafkaReport *report);
extern void outbox_kafka_report_fatal(OutboxKafkaClient *client,
									  const char *reason,
									  OutboxKafkaReport *report);
extern bool outbox_kafka_is_same_message(const char *a, const char *b);

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
extern void outbox_kafka_tls_log(OutboxKafkaClient *client,
								 const char *facility, const char *text);
extern void outbox_kafka_name_refusal(char *error);
extern bool outbox_kafka_is_anonymous(rd_kafka_t *rk);
extern OutboxTrouble outbox_kafka_log_trouble(OutboxKafkaClient *client,
											  const char *facility,
											  const char *text, int level);
extern OutboxTrouble outbox_kafka_trouble(OutboxKafkaClient *client,
										  rd_kafka_resp_err_t code,
										  const char **message);

/* token.c */
extern bool outbox_kafka_is_of_tokens(const char *facility);
extern void outbox_kafka_copy_harmless(char *to, size_t size,
									   const char *from);
extern OutboxTrouble outbox_kafka_token_trouble(OutboxKafkaClient *client,
												const char **message);

/* errors.c */
extern OutboxFailure outbox_kafka_failure(rd_kafka_resp_err_t code);
extern void outbox_kafka_message(rd_kafka_resp_err_t code, char *message);

/* poll.c */
extern bool outbox_kafka_poll(OutboxSink *sink, OutboxSinkEvent *event);

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
extern OutboxTopicState
outbox_kafka_topic_state(const OutboxKafkaQuestion *question,
						 OutboxFailure *failure, char *message);
extern void outbox_kafka_ask_topic(OutboxSink *sink, const char *name);
extern void outbox_kafka_ask_counts(OutboxSink *sink);
extern bool outbox_kafka_make_answer(OutboxSink *sink, OutboxSinkEvent *event);

/* readings.c */
extern OutboxKafkaReadings *outbox_kafka_readings_create(void);
extern OutboxKafkaReadTopic *
outbox_kafka_read_topic(OutboxKafkaReadings *readings, rd_kafka_t *rk,
						const char *name);
extern OutboxKafkaReading *outbox_kafka_reading(OutboxKafkaReadTopic *topic,
												int32 partition);
extern OutboxKafkaReading *
outbox_kafka_find_reading(OutboxKafkaReadings *readings, const char *topic,
						  int32 partition);
extern void outbox_kafka_readings_free(OutboxKafkaReadings *readings);

/* consumer.c */
extern void outbox_kafka_read(OutboxSource *source,
							  OutboxKafkaReadTopic *topic, int32 partition);
extern void outbox_kafka_halt(OutboxKafkaReadTopic *topic, int32 partition);
extern void outbox_kafka_read_later(OutboxSource *source,
									OutboxKafkaReadTopic *topic,
									int32 partition);
extern void outbox_kafka_read_missing(OutboxSource *source,
									  OutboxKafkaReadTopic *topic, int count);
extern void outbox_kafka_read_due(OutboxSource *source);

/* consumer_poll.c */
extern bool outbox_kafka_source_poll(OutboxSource *source,
									 OutboxSourceEvent *event);

/* tell.c */
extern void outbox_kafka_tell(OutboxSource *source, const char *topic,
							  int32 partition, int64 next_offset);
extern void outbox_kafka_tell_pending(OutboxSource *source);
extern bool outbox_kafka_tell_is_stuck(const OutboxSource *source);
extern bool outbox_kafka_told(OutboxSource *source, OutboxSourceEvent *event);

/* query.c */
extern OutboxKafkaQuery *outbox_kafka_query_create(rd_kafka_t *rk,
												   int wake_fd);
extern void outbox_kafka_query_ask(OutboxKafkaQuery *query, const char *topic,
								   int32 partition, int64 time);
extern OutboxKafkaQuestion *outbox_kafka_query_next(OutboxKafkaQuery *query);
extern void outbox_kafka_query_destroy(OutboxKafkaQuery *query);

#endif /* OUTBOX_KAFKA_H */
