/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  How long things took.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HISTOGRAM_H
#define OUTBOX_HISTOGRAM_H

#include "outbox.h"

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

extern void outbox_histogram_add(OutboxHistogram *histogram, int64 us);
extern double outbox_histogram_bound(int bucket);
extern double outbox_histogram_quantile(const OutboxHistogram *histogram,
										double fraction);

#endif /* OUTBOX_HISTOGRAM_H */
