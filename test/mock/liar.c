/*
 * liar.c
 *	  A sink's module that breaks the rules of src/sink/sink.h: preloaded into
 *	  the server (LD_PRELOAD), this takes the place of outbox_kafka.so, to
 *	  which it passes everything on, but for lies.
 *
 *	  A file in the directory that OUTBOX_TEST_LIES names, with the name of a
 *	  database, holds "SINK LIE"; it is removed when the lie has been told.
 *	  SINK is stream (or any with full batches), alone (for parked events) or
 *	  copies; for the lies see lie_in_poll() and lie_in_publish().
 *
 *	  With OUTBOX_TEST_INTERFACE set, its interface has that number.
 *
 *	  Events whose payload begins with "later" or "dead" are refused in the
 *	  stream, for now or for good, which is no lie; those with "ugly", with a
 *	  message that cannot be shown as it is.
 */
#define _GNU_SOURCE
#include "postgres.h"

#include <dlfcn.h>
#include <syslog.h>
#include <unistd.h>

#include "sink/sink.h"

#define SINKS 64

typedef struct Liar
{
	OutboxSink *sink;
	char path[MAXPGPATH];
	const char *kind;
	OutboxSinkEvent again; /* to be told next */
	bool has_again;
} Liar;

static void *(*real_dlopen)(const char *, int);
static void *module;
static const OutboxSinkApi *real;
static OutboxSinkApi api;
static Liar liars[SINKS];

/* quotes, what ends lines and fields, and bytes of no encoding */
static const char ugly[] =
	"\"ugly\", 'it'; gr\xc3\xbcn\n2026-01-01 LOG:  forged\t\x01\xff\xc3 end";

#undef printf
#undef fprintf
#undef snprintf

/* The server loads us instead of the module, and the module with us. */
void *
dlopen(const char *file, int flags)
{
	Dl_info self;
	void *handle;

	if (real_dlopen == NULL)
		real_dlopen =
			(void *(*) (const char *, int) ) dlsym(RTLD_NEXT, "dlopen");
	handle = real_dlopen(file, flags);
	if (handle == NULL || file == NULL ||
		strstr(file, "/outbox_kafka.so") == NULL ||
		dladdr((void *) dlopen, &self) == 0)
		return handle;
	module = handle;
	return real_dlopen(self.dli_fname, flags);
}

/* That of the module */
const void *Pg_magic_func(void);

const void *
Pg_magic_func(void)
{
	const void *(*function)(void) =
		(const void *(*) (void) ) dlsym(module, "Pg_magic_func");

	return function();
}

static Liar *
liar_of(const OutboxSink *sink)
{
	for (int i = 0; i < SINKS; i++)
	{
		if (liars[i].sink == sink)
			return &liars[i];
	}
	return NULL;
}

/* The lie that is to be told by a sink; "" = none */
static const char *
lie_for(const Liar *liar)
{
	static char lie[64];
	char kind[64];
	FILE *file = fopen(liar->path, "r");
	int words = 0;

	if (file != NULL)
	{
		words = fscanf(file, "%63s %63s", kind, lie);
		fclose(file);
	}
	return words == 2 && strcmp(kind, liar->kind) == 0 ? lie : "";
}

static bool
is_lie(Liar *liar, const char *lie, const char *name)
{
	return strcmp(lie, name) == 0 && unlink(liar->path) == 0;
}

static OutboxSink *
open_sink(const OutboxSinkConfig *config, char *error)
{
	OutboxSink *sink = real->open(config, error);
	Liar *liar = liar_of(NULL);

	if (sink == NULL || liar == NULL)
		return sink;
	memset(liar, 0, sizeof(*liar));
	liar->sink = sink;
	snprintf(liar->path, sizeof(liar->path), "%s/%s",
			 getenv("OUTBOX_TEST_LIES"), strchr(config->client_id, '-') + 1);
	liar->kind = config->keys_once          ? "alone"
				 : config->batch_bytes == 1 ? "copies"
											: "stream";
	return sink;
}

/* An event that is made up, or a true one that becomes false; false if there
 * is nothing to tell. */
static bool
lie_in_poll(Liar *liar, OutboxSinkEvent *event, bool any)
{
	static char long_name[100000];
	static const OutboxSinkStatistics below_zero = {.throttle_max_ms = -1};
	const char *lie = lie_for(liar);
	bool delivered = any && event->type == OUTBOX_SINK_DELIVERED;

	if (delivered && is_lie(liar, lie, "twice"))
	{
		liar->again = *event;
		liar->has_again = true;
		return true;
	}
	if (delivered && is_lie(liar, lie, "other"))
	{
		event->tag += 1000000;
		return true;
	}
	if (any)
		return true;

	memset(event, 0, sizeof(*event));
	event->tag = UINT64CONST(1) << 60;
	event->message = "a lie";
	event->topic = "a lie";
	if (is_lie(liar, lie, "unknown"))
		event->type = OUTBOX_SINK_DELIVERED;
	else if (is_lie(liar, lie, "purged"))
		event->type = OUTBOX_SINK_PURGED;
	else if (is_lie(liar, lie, "failed"))
		event->type = OUTBOX_SINK_FAILED;
	else if (is_lie(liar, lie, "type"))
		event->type = (OutboxSinkEventType) 99;
	else if (is_lie(liar, lie, "negative"))
		event->type = (OutboxSinkEventType) -1;
	else if (is_lie(liar, lie, "failure"))
	{
		event->type = OUTBOX_SINK_UNREACHABLE;
		event->failure = (OutboxFailure) 99;
	}
	else if (is_lie(liar, lie, "trouble"))
	{
		event->type = OUTBOX_SINK_LOST;
		event->trouble = (OutboxTrouble) -99;
	}
	else if (is_lie(liar, lie, "log"))
	{
		event->type = OUTBOX_SINK_LOG;
		event->message = NULL;
	}
	else if (is_lie(liar, lie, "ugly"))
	{
		event->type = OUTBOX_SINK_LOG;
		event->log_level = LOG_WARNING;
		event->message = ugly;
	}
	else if (is_lie(liar, lie, "fatal"))
	{
		event->type = OUTBOX_SINK_FATAL;
		event->message = NULL;
	}
	else if (is_lie(liar, lie, "statistics"))
		event->type = OUTBOX_SINK_STATISTICS;
	else if (is_lie(liar, lie, "below_zero"))
	{
		event->type = OUTBOX_SINK_STATISTICS;
		event->statistics = &below_zero;
	}
	else if (is_lie(liar, lie, "topic"))
		event->type = OUTBOX_SINK_TOPIC;
	else if (is_lie(liar, lie, "no_topic"))
	{
		event->type = OUTBOX_SINK_TOPIC;
		event->topic = NULL;
	}
	else if (is_lie(liar, lie, "long_topic"))
	{
		event->type = OUTBOX_SINK_TOPIC;
		memset(long_name, 'x', sizeof(long_name) - 1);
		event->topic = long_name;
	}
	else
		return false;
	return true;
}

static bool
poll_sink(OutboxSink *sink, OutboxSinkEvent *event)
{
	Liar *liar = liar_of(sink);

	if (liar == NULL)
		return real->poll(sink, event);
	if (liar->has_again)
	{
		*event = liar->again;
		liar->has_again = false;
		return true;
	}
	return lie_in_poll(liar, event, real->poll(sink, event));
}

static bool
is_payload(const OutboxRecord *record, const char *prefix)
{
	return record->payload_bytes >= (int) strlen(prefix) &&
		   memcmp(record->payload, prefix, strlen(prefix)) == 0;
}

static OutboxSinkAnswer
lie_in_publish(Liar *liar, const OutboxRecord *record, OutboxFailure *failure,
			   char *error)
{
	const char *lie = lie_for(liar);

	if (strcmp(liar->kind, "stream") == 0 &&
		(is_payload(record, "later") || is_payload(record, "dead") ||
		 is_payload(record, "ugly")))
	{
		*failure = is_payload(record, "later") ? OUTBOX_FAILURE_EVENT
											   : OUTBOX_FAILURE_INVALID;
		strcpy(error, is_payload(record, "ugly") ? ugly : "refused");
		return OUTBOX_SINK_REFUSED;
	}
	if (is_lie(liar, lie, "answer"))
		return (OutboxSinkAnswer) 99;
	if (is_lie(liar, lie, "refusal"))
	{
		*failure = OUTBOX_FAILURE_EVENT;
		return OUTBOX_SINK_REFUSED;
	}
	if (is_lie(liar, lie, "fault"))
	{
		*failure = (OutboxFailure) 99;
		strcpy(error, "a lie");
		return OUTBOX_SINK_REFUSED;
	}
	return OUTBOX_SINK_ACCEPTED;
}

static OutboxSinkAnswer
publish(OutboxSink *sink, const OutboxRecord *record, OutboxFailure *failure,
		char *error)
{
	Liar *liar = liar_of(sink);
	OutboxSinkAnswer answer = OUTBOX_SINK_ACCEPTED;

	if (liar != NULL)
		answer = lie_in_publish(liar, record, failure, error);
	if (answer != OUTBOX_SINK_ACCEPTED)
		return answer;
	return real->publish(sink, record, failure, error);
}

static void
close_sink(OutboxSink *sink)
{
	Liar *liar = liar_of(sink);

	if (liar != NULL)
		liar->sink = NULL;
	real->close(sink);
}

const OutboxSinkApi *outbox_sink_api(void);

const OutboxSinkApi *
outbox_sink_api(void)
{
	OutboxSinkApiFunction function =
		(OutboxSinkApiFunction) dlsym(module, OUTBOX_SINK_SYMBOL);

	real = function();
	api = *real;
	if (getenv("OUTBOX_TEST_INTERFACE") != NULL)
		api.interface = atoi(getenv("OUTBOX_TEST_INTERFACE"));
	api.open = open_sink;
	api.publish = publish;
	api.poll = poll_sink;
	api.close = close_sink;
	return &api;
}
