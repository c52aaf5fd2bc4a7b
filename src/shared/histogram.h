/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  How long things took. All of it is here, for both libraries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HISTOGRAM_H
#define OUTBOX_HISTOGRAM_H

#include "outbox.h"

#include <math.h>

#include "port/pg_bitutils.h"
#include "utils/float.h"

/*
 * Four buckets for each power of two of microseconds, the last one without an
 * end: from 1 us to more than an hour, each value with an error of a quarter
 * at most.
 */
#define OUTBOX_HISTOGRAM_BUCKETS 124

typedef struct OutboxHistogram
{
	uint64 count;
	uint64 sum_us;
	uint64 buckets[OUTBOX_HISTOGRAM_BUCKETS];
} OutboxHistogram;

static inline int
outbox_histogram_bucket(uint64 us)
{
	int power;

	if (us < 4)
		return (int) us;
	power = pg_leftmost_one_pos64(us);
	return Min((power - 1) * 4 + (int) ((us >> (power - 2)) & 3),
			   OUTBOX_HISTOGRAM_BUCKETS - 1);
}

/* Seconds up to which a bucket reaches; the last one has no end. */
static inline double
outbox_histogram_bound(int bucket)
{
	if (bucket == OUTBOX_HISTOGRAM_BUCKETS - 1)
		return get_float8_infinity();
	if (bucket < 4)
		return (bucket + 1) / 1e6;
	return ldexp(bucket % 4 + 5, bucket / 4 - 1) / 1e6;
}

/* Counts a time in microseconds; it is negative if the clock was set back. */
static inline void
outbox_histogram_add(OutboxHistogram *histogram, int64 us)
{
	uint64 value = us > 0 ? (uint64) us : 0;

	histogram->count++;
	histogram->sum_us += value;
	histogram->buckets[outbox_histogram_bucket(value)]++;
}

/* The time, in seconds, that a fraction of all does not exceed; NaN if nothing
 * has been counted */
static inline double
outbox_histogram_quantile(const OutboxHistogram *histogram, double fraction)
{
	uint64 wanted = (uint64) ceil((double) histogram->count * fraction);
	uint64 seen = 0;

	for (int i = 0; i < OUTBOX_HISTOGRAM_BUCKETS - 1; i++)
	{
		seen += histogram->buckets[i];
		if (seen >= wanted && seen > 0)
			return outbox_histogram_bound(i);
	}
	return histogram->count > 0
			   ? outbox_histogram_bound(OUTBOX_HISTOGRAM_BUCKETS - 2)
			   : get_float8_nan();
}

#endif /* OUTBOX_HISTOGRAM_H */
