/*-------------------------------------------------------------------------
 *
 * kafka_jaas.h
 *	  Logins as Kafka's Java clients write them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_KAFKA_JAAS_H
#define OUTBOX_KAFKA_JAAS_H

#include "sink/properties.h"

extern bool outbox_kafka_jaas(OutboxProperties *properties, const char *text,
							  char *error);

#endif /* OUTBOX_KAFKA_JAAS_H */
