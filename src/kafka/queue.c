/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  Queues of records that wait in the sink.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

/* Moves all records of a queue behind those of another. */
void
outbox_kafka_append(OutboxKafkaQueue *queue, OutboxKafkaQueue *more)
{
	if (more->first == NULL)
		return;
	if (queue->first == NULL)
		queue->first = more->first;
	else
		queue->last->next = more->first;
	queue->last = more->last;
	more->first = more->last = NULL;
}

/* One more, the last */
void
outbox_kafka_push(OutboxKafkaQueue *queue, OutboxKafkaHeld *held)
{
	OutboxKafkaQueue one = {held, held};

	held->next = NULL;
	outbox_kafka_append(queue, &one);
}

/* Takes the first one of a queue that has one. */
OutboxKafkaHeld *
outbox_kafka_pop(OutboxKafkaQueue *queue)
{
	OutboxKafkaHeld *held = queue->first;

	queue->first = held->next;
	if (queue->first == NULL)
		queue->last = NULL;
	return held;
}
