/*-------------------------------------------------------------------------
 *
 * uuid7.c
 *	  UUID version 7, RFC 9562 section 5.7: 48 bits of Unix time in
 *	  milliseconds, then, as its section 6.2 method 3 allows, 12 bits of the
 *	  rest of the time, then 62 random bits. The names that one backend makes
 *	  ascend. (PostgreSQL has such a function from 18 on.)
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <time.h>

#include "utils/timestamp.h"

#include "emit/uuid7.h"

#define NS_PER_S     INT64CONST(1000000000)
#define NS_PER_MS    INT64CONST(1000000)
#define NS_PER_US    INT64CONST(1000)

/* what one step of the 12 bits is worth */
#define MIN_STEP_NS  (NS_PER_MS / 4096 + 1)

#define RANDOM_BYTES 8
#define POOL_BYTES   (128 * RANDOM_BYTES)

/* Strong random bytes, fetched many at once: each fetch is a system call. */
static void
random_bytes(unsigned char *out)
{
	static unsigned char pool[POOL_BYTES];
	static int used = POOL_BYTES;

	if (used == POOL_BYTES)
	{
		if (!pg_strong_random(pool, POOL_BYTES))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
							errmsg("could not generate random values")));
		used = 0;
	}
	memcpy(out, pool + used, RANDOM_BYTES);
	used += RANDOM_BYTES;
}

/*
 * Makes a UUID and returns the current time that it was made from.
 */
TimestampTz
outbox_uuid7_generate(pg_uuid_t *uuid)
{
	static int64 last_ns = 0;
	struct timespec now;
	int64 now_ns;
	int64 ns;
	uint64 ms;
	uint32 fraction;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = now.tv_sec * NS_PER_S + now.tv_nsec;
	ns = Max(now_ns, last_ns + MIN_STEP_NS);
	last_ns = ns;

	ms = ns / NS_PER_MS;
	fraction = (uint32) ((ns % NS_PER_MS) * 4096 / NS_PER_MS);

	for (int i = 0; i < 6; i++)
		uuid->data[i] = (unsigned char) (ms >> (40 - 8 * i));
	random_bytes(&uuid->data[8]);
	uuid->data[6] = (unsigned char) (0x70 | (fraction >> 8));
	uuid->data[7] = (unsigned char) fraction;
	uuid->data[8] = (unsigned char) (0x80 | (uuid->data[8] & 0x3f));

	return now_ns / NS_PER_US -
		   (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}
