/*-------------------------------------------------------------------------
 *
 * topic_rules.h
 *	  What is asked of events by their topic, and given to them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TOPIC_RULES_H
#define OUTBOX_TOPIC_RULES_H

#include "outbox.h"

#include "store/topic_rules.h"

/* the header of a rule with schema_guid */
#define OUTBOX_HEADER_VALUE_SCHEMA "__value_schema_id"

extern const OutboxTopicRule *outbox_topic_rule_of(const text *topic);
extern void outbox_topic_rule_apply(const OutboxTopicRule *rule, Datum *values,
									bool *nulls);
extern void outbox_topic_rule_check_size(const OutboxTopicRule *rule,
										 Size bytes);

#endif /* OUTBOX_TOPIC_RULES_H */
