/*-------------------------------------------------------------------------
 *
 * topic_pattern.h
 *	  Patterns for the names of topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TOPIC_PATTERN_H
#define OUTBOX_TOPIC_PATTERN_H

#include "outbox.h"

#include "utils/array.h"

extern bool outbox_topic_pattern_matches(const char *pattern,
										 int pattern_bytes, const char *topic,
										 int topic_bytes);
extern bool outbox_topic_is_chosen(const char *topic, int bytes,
								   ArrayType *topics, ArrayType *excluding);

#endif /* OUTBOX_TOPIC_PATTERN_H */
