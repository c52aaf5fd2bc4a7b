/*-------------------------------------------------------------------------
 *
 * kafka_rules.h
 *	  The kind of broker that outbox_kafka.so publishes to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_KAFKA_RULES_H
#define OUTBOX_KAFKA_RULES_H

#include "sink/kind.h"

extern const OutboxSinkKind outbox_kafka_kind;

#endif /* OUTBOX_KAFKA_RULES_H */
