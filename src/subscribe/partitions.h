/*-------------------------------------------------------------------------
 *
 * partitions.h
 *	  Which topics and partitions there are, and which are read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARTITIONS_H
#define OUTBOX_PARTITIONS_H

#include "store/transaction.h"
#include "subscribe/subscriber.h"

/* A topic that the subscription has, or has had. Kept until the process ends */
typedef struct OutboxSubscribedTopic
{
	char name[OUTBOX_TOPIC_MAX + 1];
	bool wanted; /* it has it now */
	bool begun;  /* there are rows of it in outbox.subscription_offset */
	int count;   /* of its partitions; 0 = it is not there, -1 = not known */
	OutboxPartition **partitions; /* by their numbers, as many as known */
	int known;                    /* at least as many as count */
	TimestampTz gone_since; /* some of these are not there; 0 = they are */
	int gone_answers;       /* so often in a row */
	bool gone;              /* it is believed now */
	bool refused;           /* brokers refuse to tell of it, as was told */
} OutboxSubscribedTopic;

/* of OutboxSubscribedTopic *; for reading */
extern List *outbox_topics;

/* for who has messages in hand: the batch, and failures */
extern OutboxPartition *outbox_partition_find(const char *topic, int32 number);
extern void outbox_partition_rewind(OutboxPartition *partition);
extern void outbox_partition_outdated(OutboxPartition *partition);
extern void outbox_partition_block(OutboxPartition *partition, bool blocked);
extern bool outbox_partitions_halt(bool halted);

/* for intake.c and places.c */
extern OutboxSubscribedTopic *outbox_topic_of(const char *name);
extern void outbox_topics_want(List *names);
extern void outbox_topic_counted(OutboxSubscribedTopic *topic, int count);
extern bool outbox_partition_is_there(const OutboxSubscribedTopic *topic,
									  const OutboxPartition *partition);
extern bool outbox_partition_is_wanted(const OutboxPartition *partition);
extern bool outbox_partitions_are_halted(void);
extern void outbox_partition_question(OutboxPartition *partition,
									  OutboxQuestion question);
extern bool outbox_partitions_are_stale(void);
extern uint32 outbox_partitions_readings(void);
extern void outbox_partitions_read_again(void);
extern void outbox_partitions_forget(void);
extern OutboxStoreStatus outbox_partitions_read(bool *moved);
extern void outbox_partitions_closed(void);

/* Visits all partitions of topics that are wanted */
#define OUTBOX_EACH_PARTITION(topic, partition)                         \
	for (int t_ = 0; t_ < list_length(outbox_topics); t_++)             \
		if ((topic = list_nth(outbox_topics, t_))->wanted)              \
			for (int i_ = 0; i_ < topic->known &&                       \
							 (partition = topic->partitions[i_], true); \
				 i_++)

#endif /* OUTBOX_PARTITIONS_H */
