/*-------------------------------------------------------------------------
 *
 * topic_filter.c
 *	  Which topics this relay publishes, by the patterns of its policy.
 *
 * A topic is compared with them once, as long as it is remembered. There may
 * be any number of topics: each has one place where it can be remembered, and
 * takes it from the one that was there.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "common/hashfn.h"

#include "format/topic_pattern.h"
#include "publish/topic_filter.h"
#include "shared/policy.h"
#include "sink/kind.h"

#define PLACES 512

typedef struct Decision
{
	bool is_known;
	bool has;
	uint8 bytes; /* of the name */
	char name[OUTBOX_TOPIC_MAX];
} Decision;

StaticAssertDecl(OUTBOX_TOPIC_MAX <= PG_UINT8_MAX, "a byte counts them");

static Decision decisions[PLACES];

/* Are there topics that it does not publish? */
bool
outbox_topic_filter_is_set(void)
{
	return outbox_policy.topics != NULL || outbox_policy.excluding != NULL;
}

/* Does it publish this one? topic is not compressed. */
bool
outbox_topic_filter_has(const text *topic)
{
	const char *name = VARDATA_ANY(topic);
	int bytes = (int) VARSIZE_ANY_EXHDR(topic);
	Decision *decision =
		&decisions[hash_bytes((const unsigned char *) name, bytes) % PLACES];

	if (decision->is_known && decision->bytes == bytes &&
		memcmp(decision->name, name, bytes) == 0)
		return decision->has;
	/* longer ones are in rows that somebody has written by hand */
	decision->is_known = (bytes <= OUTBOX_TOPIC_MAX);
	if (decision->is_known)
		memcpy(decision->name, name, bytes);
	decision->bytes = (uint8) bytes;
	decision->has = outbox_topic_is_chosen(name, bytes, outbox_policy.topics,
										   outbox_policy.excluding);
	return decision->has;
}

/* The patterns may be others. */
void
outbox_topic_filter_forget(void)
{
	for (int i = 0; i < PLACES; i++)
		decisions[i].is_known = false;
}
