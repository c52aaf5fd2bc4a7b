/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Hands one record over to the library.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

/* The record's headers, which rd_kafka_producev() takes over if it accepts */
static rd_kafka_headers_t *
make_headers(const OutboxRecord *record)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);

	for (int i = 0; i < record->header_count; i++)
	{
		const OutboxHeader *header = &record->headers[i];

		rd_kafka_header_add(headers, header->name, header->name_bytes,
							header->value, header->value_bytes);
	}
	return headers;
}

/*
 * Hands a record to the library, which copies it. partition is that of its
 * key, or NULL if it has none.
 */
rd_kafka_resp_err_t
outbox_kafka_produce(OutboxSink *sink, OutboxKafkaTopic *topic,
					 OutboxKafkaPartition *partition,
					 const OutboxRecord *record)
{
	rd_kafka_headers_t *headers = make_headers(record);
	int32 number = partition ? outbox_kafka_partition_number(topic, partition)
							 : RD_KAFKA_PARTITION_UA;
	rd_kafka_resp_err_t code = rd_kafka_producev(
		sink->client.rk, RD_KAFKA_V_RKT(topic->handle),
		RD_KAFKA_V_PARTITION(number), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_KEY(record->key, record->key_bytes),
		RD_KAFKA_V_VALUE(unconstify(char *, record->payload),
						 record->payload_bytes),
		RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
		RD_KAFKA_V_HEADERS(headers),
		RD_KAFKA_V_OPAQUE((void *) (uintptr_t) record->tag), RD_KAFKA_V_END);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		outbox_kafka_sent(topic, partition);
	else
		rd_kafka_headers_destroy(headers);
	return code;
}
