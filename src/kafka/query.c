/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Questions to the brokers about topics and offsets. librdkafka waits for
 *	  the answer, so they are asked in a thread of their own, begun with the
 *	  first one.
 *
 * Questions that have come meanwhile are asked together, with one request.
 * The thread blocks all signals, and nothing of PostgreSQL is called in it; it
 * takes questions from one list and puts them, answered, into another.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* how long brokers have to answer */
#define ANSWER_MS 1000

/* First in, first out */
typedef struct QuestionList
{
	OutboxKafkaQuestion *first;
	OutboxKafkaQuestion **end; /* where the next one goes */
} QuestionList;

struct OutboxKafkaQuery
{
	rd_kafka_t *rk;
	int wake_fd;
	int waiting; /* questions without an answer; the relay's thread alone */
	bool has_thread;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool ending;
	QuestionList asked;
	QuestionList answered;
};

/* What metadata says about one topic; if it does not, nobody has answered. */
static void
answer(OutboxKafkaQuestion *question, const struct rd_kafka_metadata *metadata)
{
	const struct rd_kafka_metadata_topic *topic = NULL;

	for (int i = 0; i < metadata->topic_cnt && topic == NULL; i++)
	{
		if (strcmp(metadata->topics[i].topic, question->topic) == 0)
			topic = &metadata->topics[i];
	}
	if (topic == NULL)
		return;
	question->code = topic->err;
	question->count = topic->partition_cnt;
	question->leaderless = -1;
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		if (topic->partitions[i].leader < 0)
			question->leaderless = topic->partitions[i].id;
	}
}

static void
ask_topics(rd_kafka_t *rk, OutboxKafkaQuestion *questions)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *handle = NULL; /* all that the client knows */
	rd_kafka_resp_err_t code;

	if (questions->next == NULL)
		handle = rd_kafka_topic_new(rk, questions->topic, NULL);
	code = rd_kafka_metadata(rk, 0, handle, &metadata, ANSWER_MS);
	if (handle != NULL)
		rd_kafka_topic_destroy(handle);
	for (; questions != NULL; questions = questions->next)
	{
		questions->code = RD_KAFKA_RESP_ERR__TIMED_OUT;
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			answer(questions, metadata);
		else
			questions->code = code;
	}
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(metadata);
}

/*
 * All of one topic, whose fault is not that of others. What is asked of a time
 * at which nothing is as new gets RD_KAFKA_OFFSET_END.
 */
static void
ask_offsets_once(rd_kafka_t *rk, OutboxKafkaQuestion *questions)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new(16);
	rd_kafka_resp_err_t code;

	for (const OutboxKafkaQuestion *one = questions; one; one = one->next)
		rd_kafka_topic_partition_list_add(list, one->topic, one->partition)
			->offset = one->time;
	code = rd_kafka_offsets_for_times(rk, list, ANSWER_MS);
	for (; questions != NULL; questions = questions->next)
	{
		const rd_kafka_topic_partition_t *found =
			rd_kafka_topic_partition_list_find(list, questions->topic,
											   questions->partition);

		questions->code = code;
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			questions->code = found->err;
		questions->offset = found->offset;
	}
	rd_kafka_topic_partition_list_destroy(list);
}

static void
ask_offsets(rd_kafka_t *rk, OutboxKafkaQuestion *questions)
{
	bool again = false;

	ask_offsets_once(rk, questions);
	for (OutboxKafkaQuestion *one = questions; one; one = one->next)
	{
		if (one->code != RD_KAFKA_RESP_ERR_NO_ERROR || one->offset >= 0)
			continue;
		again |= one->time != RD_KAFKA_OFFSET_END;
		one->time = RD_KAFKA_OFFSET_END;
	}
	/* those that have their answer get it again */
	if (again)
		ask_offsets_once(rk, questions);
}

/* Puts questions behind those of a list: who has waited longest has his turn,
 * however often others ask again. */
static void
append(QuestionList *list, OutboxKafkaQuestion *questions)
{
	*list->end = questions;
	while (*list->end != NULL)
		list->end = &(*list->end)->next;
}

/* Takes the first question out of a list, and those that can be asked with
 * it. */
static OutboxKafkaQuestion *
take_alike(QuestionList *list)
{
	OutboxKafkaQuestion *first = list->first;
	OutboxKafkaQuestion **last = &first->next;
	OutboxKafkaQuestion **next = &list->first;

	list->first = first->next;
	first->next = NULL;
	while (*next != NULL)
	{
		OutboxKafkaQuestion *one = *next;

		if ((one->partition < 0) != (first->partition < 0) ||
			(one->partition >= 0 && strcmp(one->topic, first->topic) != 0))
		{
			next = &one->next;
			continue;
		}
		*next = one->next;
		one->next = NULL;
		*last = one;
		last = &one->next;
	}
	list->end = next;
	return first;
}

static void *
ask_all(void *arg)
{
	OutboxKafkaQuery *query = arg;
	OutboxKafkaQuestion *questions;
	ssize_t rc;

	pthread_mutex_lock(&query->mutex);
	for (;;)
	{
		while (query->asked.first == NULL && !query->ending)
			pthread_cond_wait(&query->changed, &query->mutex);
		if (query->ending)
			break;
		questions = take_alike(&query->asked);
		pthread_mutex_unlock(&query->mutex);

		if (questions->partition < 0)
			ask_topics(query->rk, questions);
		else
			ask_offsets(query->rk, questions);

		pthread_mutex_lock(&query->mutex);
		append(&query->answered, questions);
		/* if the pipe is full, the relay will look anyway */
		rc = write(query->wake_fd, "", 1);
		(void) rc;
	}
	pthread_mutex_unlock(&query->mutex);
	return NULL;
}

/* Begins the thread; false if there can be none. */
static bool
begin(OutboxKafkaQuery *query)
{
	sigset_t all;
	sigset_t old;

	if (query->has_thread)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	query->has_thread =
		pthread_create(&query->thread, NULL, ask_all, query) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return query->has_thread;
}

static void *
allocate(Size bytes)
{
	void *memory = calloc(1, bytes);

	if (memory == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return memory;
}

/*
 * Answers make wake_fd readable. Raises an error only when out of memory, as
 * does outbox_kafka_query_ask().
 */
OutboxKafkaQuery *
outbox_kafka_query_create(rd_kafka_t *rk, int wake_fd)
{
	OutboxKafkaQuery *query = allocate(sizeof(OutboxKafkaQuery));

	query->rk = rk;
	query->wake_fd = wake_fd;
	query->asked.end = &query->asked.first;
	query->answered.end = &query->answered.first;
	pthread_mutex_init(&query->mutex, NULL);
	pthread_cond_init(&query->changed, NULL);
	return query;
}

/*
 * Asks about a topic that the client has a handle of, if partition is -1; else
 * where in that partition something is: see OutboxKafkaQuestion.
 */
void
outbox_kafka_query_ask(OutboxKafkaQuery *query, const char *topic,
					   int32 partition, int64 time)
{
	OutboxKafkaQuestion *question = allocate(sizeof(OutboxKafkaQuestion));
	bool begun = begin(query);

	strlcpy(question->topic, topic, sizeof(question->topic));
	question->partition = partition;
	question->time = time;
	question->code = RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
	query->waiting++;
	pthread_mutex_lock(&query->mutex);
	append(begun ? &query->asked : &query->answered, question);
	pthread_cond_signal(&query->changed);
	pthread_mutex_unlock(&query->mutex);
}

/* The next answer, which the caller frees with free(); NULL if there is none */
OutboxKafkaQuestion *
outbox_kafka_query_next(OutboxKafkaQuery *query)
{
	OutboxKafkaQuestion *question;

	if (query->waiting == 0)
		return NULL;
	pthread_mutex_lock(&query->mutex);
	question = query->answered.first;
	if (question != NULL)
		query->answered.first = question->next;
	if (query->answered.first == NULL)
		query->answered.end = &query->answered.first;
	pthread_mutex_unlock(&query->mutex);
	if (question != NULL)
		query->waiting--;
	return question;
}

static void
free_list(OutboxKafkaQuestion *question)
{
	while (question != NULL)
	{
		OutboxKafkaQuestion *next = question->next;

		free(question);
		question = next;
	}
}

/*
 * Ends the thread, and waits until it has: for ANSWER_MS if it is asking. May
 * be called in any thread, once nobody asks any more.
 */
void
outbox_kafka_query_destroy(OutboxKafkaQuery *query)
{
	pthread_mutex_lock(&query->mutex);
	query->ending = true;
	pthread_cond_signal(&query->changed);
	pthread_mutex_unlock(&query->mutex);
	if (query->has_thread)
		pthread_join(query->thread, NULL);
	pthread_cond_destroy(&query->changed);
	pthread_mutex_destroy(&query->mutex);
	free_list(query->asked.first);
	free_list(query->answered.first);
	free(query);
}
