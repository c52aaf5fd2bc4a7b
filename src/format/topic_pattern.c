/*-------------------------------------------------------------------------
 *
 * topic_pattern.c
 *	  Patterns for the names of topics: a * stands for any characters, or
 *	  none; all else for itself.
 *
 * Between two stars, the first place where the text is found is as good as
 * any: what follows has the most room there. So nothing is tried twice, and a
 * pattern of many stars costs no more than one of few.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "format/topic_pattern.h"

PG_FUNCTION_INFO_V1(outbox_topic_matches);

/* Does a topic match a pattern, all of it? */
bool
outbox_topic_pattern_matches(const char *pattern, int pattern_bytes,
							 const char *topic, int topic_bytes)
{
	const char *pattern_end = pattern + pattern_bytes;
	const char *topic_end = topic + topic_bytes;
	const char *star = memchr(pattern, '*', pattern_bytes);

	if (star == NULL)
		return pattern_bytes == topic_bytes &&
			   memcmp(pattern, topic, topic_bytes) == 0;

	/* what is before the first star, ... */
	if (topic_bytes < star - pattern ||
		memcmp(pattern, topic, star - pattern) != 0)
		return false;
	topic += star - pattern;
	pattern = star + 1;

	/* ... between two of them, ... */
	while ((star = memchr(pattern, '*', pattern_end - pattern)) != NULL)
	{
		const char *found =
			memmem(topic, topic_end - topic, pattern, star - pattern);

		if (found == NULL)
			return false;
		topic = found + (star - pattern);
		pattern = star + 1;
	}

	/* ... and behind the last one */
	return topic_end - topic >= pattern_end - pattern &&
		   memcmp(topic_end - (pattern_end - pattern), pattern,
				  pattern_end - pattern) == 0;
}

/* Does a topic match one of some patterns? Nulls match nothing. */
static bool
matches_any(const char *topic, int bytes, ArrayType *patterns)
{
	ArrayIterator iterator = array_create_iterator(patterns, 0, NULL);
	Datum pattern;
	bool is_null;
	bool found = false;

	while (!found && array_iterate(iterator, &pattern, &is_null))
	{
		text *string = is_null ? NULL : DatumGetTextPP(pattern);

		found = string != NULL && outbox_topic_pattern_matches(
									  VARDATA_ANY(string),
									  VARSIZE_ANY_EXHDR(string), topic, bytes);
	}
	array_free_iterator(iterator);
	return found;
}

/*
 * Is a topic one of those that a relay publishes? topics and excluding are
 * those of outbox.relay, arrays of text; either may be NULL: all topics, and
 * no exceptions.
 */
bool
outbox_topic_is_chosen(const char *topic, int bytes, ArrayType *topics,
					   ArrayType *excluding)
{
	return (topics == NULL || matches_any(topic, bytes, topics)) &&
		   (excluding == NULL || !matches_any(topic, bytes, excluding));
}

/* outbox.topic_matches(topic text, topics text[], excluding text[]) */
Datum
outbox_topic_matches(PG_FUNCTION_ARGS)
{
	text *topic;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	topic = PG_GETARG_TEXT_PP(0);
	PG_RETURN_BOOL(outbox_topic_is_chosen(
		VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic),
		PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
		PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2)));
}
