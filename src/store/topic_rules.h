/*-------------------------------------------------------------------------
 *
 * topic_rules.h
 *	  outbox.topic_rule_entry: what is asked of events by their topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STORE_TOPIC_RULES_H
#define OUTBOX_STORE_TOPIC_RULES_H

#include "outbox.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* type, source and content type */
#define OUTBOX_RULE_ATTRIBUTES 3

typedef struct OutboxTopicRule
{
	text *pattern; /* of topics */
	/* what events have that come without, in the order of their columns */
	text *attributes[OUTBOX_RULE_ATTRIBUTES]; /* each may be NULL */
	bool schema_prefix;                       /* schema_id goes in front of the
											   * payload */
	bool schema_header; /* schema_guid goes into a header */
	int32 schema_id;
	pg_uuid_t schema_guid;
	bool key_required;
	text *key_pattern;    /* a regular expression, or NULL */
	int32 max_size;       /* bytes; 0 = no limit of its own */
	bool object_required; /* the payload must be one */
} OutboxTopicRule;

extern List *outbox_topic_rules_read(Oid table);

#endif /* OUTBOX_STORE_TOPIC_RULES_H */
