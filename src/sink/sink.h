/*-------------------------------------------------------------------------
 *
 * sink.h
 *	  The wall between the relay and a broker: plain C structs and one table
 *	  of functions. Behind it is a module, a library of its own.
 *
 * Rules for a module: it may have threads, but nothing of PostgreSQL is called
 * in them. What happens there is told to the relay through poll, in the
 * relay's own thread. No function raises an error, but for being out of
 * memory, and open when too many closed sinks have not ended. None waits, but
 * for close, a moment.
 *
 * After an event has failed, no later event of the same topic and key is
 * published any more: the module ends with OUTBOX_SINK_FATAL if it cannot
 * keep that otherwise, and gives each event that has no other answer back as
 * PURGED. So the relay knows the fate of each, and can begin anew in order.
 *
 * A topic that fails (OUTBOX_FAILURE_TOPIC) does not end the sink: all events
 * of that topic that the sink has, and that have not been published, come back
 * as FAILED with that failure, those of one key in their order, and other
 * topics go on. Meanwhile events of that topic are refused with the same
 * failure. When the last one is back, the topic is as new to the sink; so it
 * is the relay that sees to it, from the first one on, that no later event of
 * that topic is handed over before these have been parked. The sink may still
 * become FATAL, before or after: a broker that refuses a topic's batch does
 * not leave it another choice.
 *
 * An event may be kept back by the sink until others have their answers; it is
 * accepted all the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SINK_H
#define OUTBOX_SINK_H

#include "sink/properties.h"

#define OUTBOX_SINK_ERROR_MAX 512

typedef struct OutboxSink OutboxSink;

typedef struct OutboxSinkConfig
{
	const char *servers; /* where it is; the module knows how it is written */
	const OutboxProperties *properties;
	const char *client_id;
	int window_events;
	int window_size_kb;
	int wake_fd;     /* gets a byte when poll has something to tell */
	int batch_bytes; /* 0 = as large as they get; 1 = each event alone */
	/* the relay never has two events of a key in it: so those behind one that
	 * is refused go on, and the sink does not end */
	bool keys_once;
	/* what the names of all topics begin with; sender.c sees to that, and the
	 * module gets whole names. "" = nothing */
	const char *topic_prefix;
} OutboxSinkConfig;

typedef struct OutboxHeader
{
	const char *name;
	int name_bytes;
	const char *value; /* NULL is a value of its own */
	int value_bytes;
} OutboxHeader;

/* One event as the broker gets it. Everything is copied by publish. */
typedef struct OutboxRecord
{
	uint64 tag;        /* comes back with its fate */
	const char *topic; /* NUL-terminated */
	const char *key;   /* NULL = none */
	int key_bytes;
	const char *payload; /* NULL = tombstone */
	int payload_bytes;
	int64 timestamp_ms; /* since 1970 */
	const OutboxHeader *headers;
	int header_count;
	int64 bytes; /* what it takes in memory, beside a fixed part */
} OutboxRecord;

typedef enum OutboxSinkAnswer
{
	OUTBOX_SINK_ACCEPTED,
	OUTBOX_SINK_FULL,    /* not now: try again after the next answer */
	OUTBOX_SINK_ENDED,   /* this sink publishes nothing any more: it has
						  * failed, was purged, or has become too large */
	OUTBOX_SINK_REFUSED, /* the event cannot be published, with the failure */
} OutboxSinkAnswer;

/* Whose fault it is that an event could not be published */
typedef enum OutboxFailure
{
	OUTBOX_FAILURE_CLUSTER, /* the brokers': it is sent again */
	OUTBOX_FAILURE_LOGIN,   /* our credentials': it is sent again, later */
	OUTBOX_FAILURE_TOPIC,   /* the topic's, for now */
	OUTBOX_FAILURE_EVENT,   /* the event's, for now */
	OUTBOX_FAILURE_SIZE,    /* its batch's, or its own if it was alone */
	OUTBOX_FAILURE_INVALID, /* the event's, for good */
} OutboxFailure;

#define OUTBOX_FAILURES (OUTBOX_FAILURE_INVALID + 1)

typedef enum OutboxSinkEventType
{
	OUTBOX_SINK_DELIVERED,   /* tag: acknowledged */
	OUTBOX_SINK_FAILED,      /* tag: not published, with the failure */
	OUTBOX_SINK_PURGED,      /* tag: not published, because others failed */
	OUTBOX_SINK_TOPIC,       /* the answer to ask_topic */
	OUTBOX_SINK_LOST,        /* a broker cannot be reached; others may be */
	OUTBOX_SINK_UNREACHABLE, /* none can be; it goes on trying */
	OUTBOX_SINK_FATAL,       /* this sink will not publish any more */
	OUTBOX_SINK_LOG,         /* a message of the library */
	OUTBOX_SINK_STATISTICS,  /* how brokers are doing, now and then */
} OutboxSinkEventType;

/* Why brokers cannot be reached, as far as it is known */
typedef enum OutboxTrouble
{
	OUTBOX_TROUBLE_AWAY = 0,
	OUTBOX_TROUBLE_UNTRUSTED,   /* we do not know who has signed for them */
	OUTBOX_TROUBLE_HOST,        /* their certificate is of another host */
	OUTBOX_TROUBLE_EXPIRED,     /* it is not valid now */
	OUTBOX_TROUBLE_TLS,         /* another problem of TLS */
	OUTBOX_TROUBLE_LISTENER,    /* they hang up, as if they expected something
								 * else, such as TLS */
	OUTBOX_TROUBLE_CERTIFICATE, /* they refuse ours */
	OUTBOX_TROUBLE_ANONYMOUS,   /* they want one, and we have none */
	OUTBOX_TROUBLE_LOGIN,       /* they refuse our login */
	OUTBOX_TROUBLE_MECHANISM,   /* they do not know our way to log in */
	OUTBOX_TROUBLE_NO_LOGIN,    /* they know no way to log in */
	OUTBOX_TROUBLE_TOKEN,       /* we get no token to log in with */
	OUTBOX_TROUBLE_BAD_TOKEN,   /* they refuse the one that we got */
} OutboxTrouble;

#define OUTBOX_TROUBLES (OUTBOX_TROUBLE_BAD_TOKEN + 1)

/* How a trouble is told */
typedef struct OutboxTroubleWords
{
	const char *what;
	const char *hint; /* what can be done about it; NULL = nothing */
} OutboxTroubleWords;

/* What brokers say about a topic */
typedef enum OutboxTopicState
{
	OUTBOX_TOPIC_FINE,
	OUTBOX_TOPIC_FAULTY,     /* with the failure */
	OUTBOX_TOPIC_LEADERLESS, /* a partition of it, for now */
	OUTBOX_TOPIC_SILENT,     /* nothing: no broker answers */
} OutboxTopicState;

/* How brokers have answered since the last time, those that have: at least
 * once. A module need not tell it, and wakes nobody for it. */
typedef struct OutboxSinkStatistics
{
	int64 round_trip_us;     /* of a request with events, on average, ... */
	int64 round_trip_p99_us; /* 99 % of them have taken less */
	int64
		throttle_ms; /* for so long it had to wait, as its quota was used up */
	int64 throttle_max_ms;
} OutboxSinkStatistics;

typedef struct OutboxSinkEvent
{
	OutboxSinkEventType type;
	uint64 tag;
	OutboxFailure failure;
	OutboxTopicState state; /* of OUTBOX_SINK_TOPIC */
	OutboxTrouble trouble;  /* of OUTBOX_SINK_LOST and _UNREACHABLE */
	int log_level;          /* of syslog(3), 0 = worst, for OUTBOX_SINK_LOG */
	const char *topic;      /* of OUTBOX_SINK_FAILED and OUTBOX_SINK_TOPIC */
	const char *message;
	const OutboxSinkStatistics *statistics; /* all valid until the next poll */
} OutboxSinkEvent;

/* grows with each change of what is in this file */
#define OUTBOX_SINK_INTERFACE 3

typedef struct OutboxSinkApi
{
	uint32 interface; /* OUTBOX_SINK_INTERFACE */

	/* how each trouble is told, OUTBOX_TROUBLES in their order */
	const OutboxTroubleWords *words;

	/* how large a batch gets if nothing limits it */
	int batch_bytes_max;

	/* of the library */
	const char *(*version)(void);

	/* do two messages say the same, but for what differs each time? */
	bool (*is_same_message)(const char *a, const char *b);

	/* NULL and a message in error (OUTBOX_SINK_ERROR_MAX) if not possible */
	OutboxSink *(*open)(const OutboxSinkConfig *config, char *error);

	/* hands an event over; a failure and a message if it is refused */
	OutboxSinkAnswer (*publish)(OutboxSink *sink, const OutboxRecord *record,
								OutboxFailure *failure, char *error);

	/*
	 * Asks the brokers about a topic whose events get no answer. Theirs comes
	 * as OUTBOX_SINK_TOPIC; the topic's events are left as they are. While
	 * there is no answer yet, the same question is ignored.
	 */
	void (*ask_topic)(OutboxSink *sink, const char *topic);

	/* what has happened; false when there is nothing (more) to tell */
	bool (*poll)(OutboxSink *sink, OutboxSinkEvent *event);

	/* asks for all events back that have not been sent, through poll; the
	 * sink takes no others afterwards */
	void (*purge)(OutboxSink *sink);

	/* forgets them, ends all threads and frees everything; what takes more
	 * than a moment is left to end by itself */
	void (*close)(OutboxSink *sink);

	/* have all closed sinks ended? If not, their threads are still there */
	bool (*has_ended)(void);
} OutboxSinkApi;

/* the one symbol that a module exports */
#define OUTBOX_SINK_SYMBOL "outbox_sink_api"
typedef const OutboxSinkApi *(*OutboxSinkApiFunction)(void);

#endif /* OUTBOX_SINK_H */
