/*-------------------------------------------------------------------------
 *
 * source.h
 *	  The wall between a subscriber and a broker: plain C structs and one table
 *	  of functions, as sink/sink.h is for the relay. The rules for a module are
 *	  those of sink/README.md: threads, waiting, errors, memory, secrets.
 *
 * A source reads partitions that it is told to, from the offset it is told;
 * it is a member of no group, and nothing that a broker keeps decides where it
 * reads. Of each partition, messages come in the order of their offsets, and of
 * transactions only those that are committed. There may be holes between
 * offsets: a broker compacts, and marks of transactions have offsets, too.
 *
 * What start or stop has made outdated never comes any more: after start, the
 * first message of that partition is the first one at or behind that offset.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SOURCE_H
#define OUTBOX_SOURCE_H

#include "sink/sink.h"

typedef struct OutboxSource OutboxSource;

typedef struct OutboxSourceConfig
{
	const char *servers;
	const OutboxProperties *properties;
	const char *client_id;
	const char *group; /* whose offsets are told, for tools that show lag */
	int queue_kb;      /* so much may be fetched ahead, in all */
	int wake_fd;       /* gets a byte when poll has something to tell */
} OutboxSourceConfig;

/* One message as the broker has it; valid until the next poll or close */
typedef struct OutboxSourceMessage
{
	int64 offset;
	int64 timestamp_ms; /* since 1970; -1 = none */
	const char *key;    /* NULL = none */
	size_t key_bytes;
	const char *payload; /* NULL = tombstone */
	size_t payload_bytes;
	const OutboxHeader *headers; /* in their order; names may repeat */
	int header_count;
} OutboxSourceMessage;

/* Where in a partition */
typedef enum OutboxSourcePlace
{
	OUTBOX_SOURCE_EARLIEST, /* the first message that is kept */
	OUTBOX_SOURCE_LATEST,   /* behind the last one */
	OUTBOX_SOURCE_TIME,     /* the first one that is not older than a time */
} OutboxSourcePlace;

typedef enum OutboxSourceEventType
{
	OUTBOX_SOURCE_MESSAGE, /* topic, partition, data */
	/* topic, partition, offset: all before that has been told, and there is
	 * nothing more now. Told once each time that the end is reached */
	OUTBOX_SOURCE_END,
	/* the answer to ask_topic: state, as OUTBOX_SINK_TOPIC; count. A topic that
	 * is not there is FAULTY, and has none */
	OUTBOX_SOURCE_TOPIC,
	OUTBOX_SOURCE_OFFSET, /* the answer to ask_offset: offset, or failure with
						   * a message (offset = -1) */
	/* topic, partition: the offset that it was to go on at is not there (any
	 * more). It is stopped, until it is started again */
	OUTBOX_SOURCE_OUT_OF_RANGE,
	/* topic, partition, offset: something else is wrong with this partition or
	 * topic: failure, message. It goes on trying by itself, where it was, and
	 * tells it again. OUTBOX_FAILURE_EVENT and beyond: what the broker has at
	 * that offset, or not far behind, cannot be read. If there is no such
	 * partition, it goes on behind an OUTBOX_SOURCE_TOPIC that has it */
	OUTBOX_SOURCE_TROUBLED,
	OUTBOX_SOURCE_LOST,        /* as OUTBOX_SINK_LOST */
	OUTBOX_SOURCE_UNREACHABLE, /* as OUTBOX_SINK_UNREACHABLE */
	OUTBOX_SOURCE_FATAL, /* it reads nothing any more: open another one */
	OUTBOX_SOURCE_LOG,   /* a message of the library */
} OutboxSourceEventType;

typedef struct OutboxSourceEvent
{
	OutboxSourceEventType type;
	const char *topic; /* all pointers are valid until the next poll */
	int32 partition;
	int64 offset;
	int count; /* of a topic's partitions; 0 = there is no such topic,
				* and -1 = it is not known, if it is FAULTY */
	OutboxTopicState state;
	OutboxFailure failure;
	OutboxTrouble trouble;
	int log_level;
	const char *message;
	const OutboxSourceMessage *data;
} OutboxSourceEvent;

/* grows with each change of what is in this file */
#define OUTBOX_SOURCE_INTERFACE 1

typedef struct OutboxSourceApi
{
	uint32 interface;

	const OutboxTroubleWords *words; /* as those of the sink */
	const char *(*version)(void);
	bool (*is_same_message)(const char *a, const char *b);

	/* NULL and a message in error (OUTBOX_SINK_ERROR_MAX) if not possible */
	OutboxSource *(*open)(const OutboxSourceConfig *config, char *error);

	/* asks which partitions a topic has; while there is no answer, the same
	 * question is ignored */
	void (*ask_topic)(OutboxSource *source, const char *topic);

	/* asks for the offset of a place; time_ms only for OUTBOX_SOURCE_TIME (if
	 * nothing is as new: the end). One question a partition at a time */
	void (*ask_offset)(OutboxSource *source, const char *topic,
					   int32 partition, OutboxSourcePlace place,
					   int64 time_ms);

	/* reads from that offset on, whatever it has read before */
	void (*start)(OutboxSource *source, const char *topic, int32 partition,
				  int64 offset);

	/* does not read that partition any more */
	void (*stop)(OutboxSource *source, const char *topic, int32 partition);

	/* what has happened; false when there is nothing (more) to tell */
	bool (*poll)(OutboxSource *source, OutboxSourceEvent *event);

	/* behind the last message that the broker has, as far as is known without
	 * asking; -1 = it is not */
	int64 (*end_offset)(OutboxSource *source, const char *topic,
						int32 partition);

	/* tells the broker how far this partition is, for tools that show lag; it
	 * may be refused, and is sent when it suits */
	void (*tell)(OutboxSource *source, const char *topic, int32 partition,
				 int64 next_offset);

	void (*close)(OutboxSource *source);
	bool (*has_ended)(void);
} OutboxSourceApi;

/* the symbol that a module exports for it */
#define OUTBOX_SOURCE_SYMBOL "outbox_source_api"
typedef const OutboxSourceApi *(*OutboxSourceApiFunction)(void);

#endif /* OUTBOX_SOURCE_H */
