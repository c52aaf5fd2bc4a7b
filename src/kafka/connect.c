/*-------------------------------------------------------------------------
 *
 * connect.c
 *	  Limits how often the library connects, whatever brokers do: it tries
 *	  again at once when one lets it in and then hangs up, and the relay opens a
 *	  new producer when one has been given up because of a wrong answer.
 *
 * A connection that comes too early waits before its socket is made, in the
 * library's thread for that broker, where nothing else is to be done. There are
 * two limits, each with some connections for free: one for each such thread,
 * and one for the first connections of all threads of the process. The latter
 * ends with an answer that gets us on; so a producer that is given up because
 * of an event has its successor at once.
 *
 * This runs in threads of the library. Nothing of PostgreSQL is called here,
 * but for its atomics.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "port/atomics.h"

/* a broker is connected to so many times at once, and then so often */
#define BROKER_FREE   6
#define BROKER_US     500000

/* the same for the first connections of new threads */
#define FIRST_FREE    50
#define FIRST_US      250000

/* how soon a connection that waits notices that its producer is closed */
#define LOOK_EVERY_US 20000

struct OutboxKafkaGate
{
	pg_atomic_uint32 closed;
};

/* When the next connection is due. That is in the past, as far as there are
 * connections for free. */
typedef struct Pace
{
	int64 next_us;
} Pace;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Pace first_pace; /* guarded by it */

static int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * (int64) 1000000 + now.tv_nsec / 1000;
}

/* When the next connection may be made: it takes that place. */
static int64
take_place(Pace *pace, int free_count, int64 interval_us)
{
	int64 place = Max(pace->next_us, now_us() - free_count * interval_us);

	pace->next_us = place + interval_us;
	return place;
}

/* Is called by the library instead of socket(). */
static int
open_socket(int domain, int type, int protocol, void *opaque)
{
	static __thread bool known = false;
	static __thread Pace pace;
	OutboxKafkaGate *gate = ((OutboxKafkaRemains *) opaque)->gate;
	int64 place = take_place(&pace, BROKER_FREE, BROKER_US);

	if (!known)
	{
		pthread_mutex_lock(&mutex);
		place = take_place(&first_pace, FIRST_FREE, FIRST_US);
		pthread_mutex_unlock(&mutex);
		known = true;
	}
	while (pg_atomic_read_u32(&gate->closed) == 0 && now_us() < place)
	{
		struct timespec pause = {.tv_nsec = LOOK_EVERY_US * 1000};

		nanosleep(&pause, NULL);
	}
	return socket(domain, type | SOCK_CLOEXEC, protocol);
}

/* What all connections of a producer go through; NULL if out of memory. The
 * configuration's opaque has it. */
OutboxKafkaGate *
outbox_kafka_gate_create(rd_kafka_conf_t *conf)
{
	OutboxKafkaGate *gate = malloc(sizeof(OutboxKafkaGate));

	if (gate == NULL)
		return NULL;
	pg_atomic_init_u32(&gate->closed, 0);
	rd_kafka_conf_set_socket_cb(conf, open_socket);
	return gate;
}

/* No connection waits any more: the producer is about to end. */
void
outbox_kafka_gate_close(OutboxKafkaGate *gate)
{
	pg_atomic_write_u32(&gate->closed, 1);
}

/* A broker has given an answer that gets us on. */
void
outbox_kafka_gate_open_wide(void)
{
	pthread_mutex_lock(&mutex);
	first_pace.next_us = 0;
	pthread_mutex_unlock(&mutex);
}
