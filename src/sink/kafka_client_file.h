/*-------------------------------------------------------------------------
 *
 * kafka_client_file.h
 *	  Files of properties of Kafka's own clients.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_KAFKA_CLIENT_FILE_H
#define OUTBOX_KAFKA_CLIENT_FILE_H

#include "sink/properties.h"

extern bool outbox_kafka_client_file(const OutboxProperties *file,
									 OutboxProperties *properties,
									 char **servers, char *error);

#endif /* OUTBOX_KAFKA_CLIENT_FILE_H */
