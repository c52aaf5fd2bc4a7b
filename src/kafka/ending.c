/*-------------------------------------------------------------------------
 *
 * ending.c
 *	  Clients that are closed end in a thread of their own: rd_kafka_destroy()
 *	  waits for the library's threads, and they may wait forever, for what a
 *	  broker has answered or for a name to be looked up.
 *
 * A client has END_MS to end before its successor begins, so that nothing of
 * its own is sent any more; it takes a few milliseconds unless something is
 * wrong. One that takes longer is left to itself, and counted: with too many
 * of them the process gives way to another, and does not wait for them
 * either.
 *
 * The threads block all signals, and nothing of PostgreSQL is called in them.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define END_MS 500

typedef struct Ending
{
	void (*end)(void *);
	void *arg;
	bool ended;
	bool left; /* nobody waits for that any more */
} Ending;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static int left_count = 0; /* that have not ended yet */

static void *
run(void *arg)
{
	Ending *ending = arg;

	ending->end(ending->arg);

	pthread_mutex_lock(&mutex);
	ending->ended = true;
	if (ending->left)
	{
		left_count--;
		free(ending);
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

/* The condition's clock must not be one that somebody sets. */
static void
init_condition(void)
{
	static bool done = false;
	pthread_condattr_t attr;

	if (done)
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attr);
	pthread_condattr_destroy(&attr);
	done = true;
}

/* Starts the thread; false if there can be none. */
static bool
start(Ending *ending)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all;
	sigset_t old;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&thread, &attr, run, ending);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

/*
 * Calls a function that ends a producer, in a thread of its own; waits for it
 * END_MS at most. What it needs must not be palloc'd, and nobody else may use
 * it any more.
 */
void
outbox_kafka_end(void (*end)(void *), void *arg)
{
	Ending *ending = malloc(sizeof(Ending));
	struct timespec deadline;

	init_condition();
	if (ending != NULL)
		*ending = (Ending){.end = end, .arg = arg};
	if (ending == NULL || !start(ending))
	{
		/* out of memory or threads: it stays as it is */
		free(ending);
		pthread_mutex_lock(&mutex);
		left_count++;
		pthread_mutex_unlock(&mutex);
		return;
	}

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_nsec += END_MS * 1000000L;
	deadline.tv_sec += deadline.tv_nsec / 1000000000L;
	deadline.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&mutex);
	while (!ending->ended &&
		   pthread_cond_timedwait(&changed, &mutex, &deadline) == 0)
		;
	if (ending->ended)
		free(ending);
	else
	{
		ending->left = true;
		left_count++;
	}
	pthread_mutex_unlock(&mutex);
}

/* How many closed producers have not ended yet */
int
outbox_kafka_ending(void)
{
	int count;

	pthread_mutex_lock(&mutex);
	count = left_count;
	pthread_mutex_unlock(&mutex);
	return count;
}
