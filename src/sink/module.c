/*-------------------------------------------------------------------------
 *
 * module.c
 *	  Loads the module behind sink.h, and calls it. What comes back is checked
 *	  by its form: a module that breaks the rules raises an error here, of a
 *	  class for which no event is blamed (guard.c), and nothing else sees what
 *	  it has said. Whether a tag is one of ours, sender.c knows.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "fmgr.h"

#include "sink/module.h"

/* An enum whose last value is that; a module may say anything */
#define IS_BEYOND(value, last) ((uint32) (value) > (uint32) (last))

static const OutboxSinkKind *loaded = NULL;

/* Raises the error that the module has done something that it must not. */
void
outbox_module_broken(const char *how)
{
	ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
					errmsg("\"%s\" breaks the rules of its interface: %s",
						   loaded->library, how),
					errhint("This is an error in that library.")));
}

/* What a table of functions lacks; NULL = nothing */
static const char *
missing(const OutboxSinkApi *api)
{
	if (api->version == NULL || api->is_same_message == NULL ||
		api->open == NULL || api->publish == NULL || api->ask_topic == NULL ||
		api->poll == NULL || api->purge == NULL || api->close == NULL ||
		api->has_ended == NULL)
		return "a function is missing";
	if (api->batch_bytes_max <= 0)
		return "batches have no size";
	for (int i = 0; i < OUTBOX_TROUBLES; i++)
	{
		if (api->words == NULL || api->words[i].what == NULL)
			return "it has no words for a trouble";
	}
	return NULL;
}

/*
 * Loads the module of a kind of broker, with its client library; for the
 * relay's process only. Raises an error if it is not there, or does not fit.
 */
const OutboxSinkApi *
outbox_module_load(const OutboxSinkKind *kind)
{
	OutboxSinkApiFunction function =
		(OutboxSinkApiFunction) load_external_function(
			kind->library, OUTBOX_SINK_SYMBOL, true, NULL);
	const OutboxSinkApi *api = function();

	loaded = kind;
	if (api == NULL)
	{
		outbox_module_broken("it has no functions");
		return NULL; /* keep compiler quiet */
	}
	if (api->interface != OUTBOX_SINK_INTERFACE)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("\"%s\" is of another version than outbox",
							   kind->library),
						errdetail("Its interface is %u, that of outbox is %u.",
								  api->interface, OUTBOX_SINK_INTERFACE),
						errhint("Install both from one build, and restart the "
								"server.")));
	if (missing(api) != NULL)
		outbox_module_broken(missing(api));
	return api;
}

/* The kind of broker whose module has been loaded */
const OutboxSinkKind *
outbox_module_kind(void)
{
	return loaded;
}

/* See sink.h. */
OutboxSink *
outbox_module_open(const OutboxSinkApi *api, const OutboxSinkConfig *config,
				   char *error)
{
	OutboxSink *sink;

	error[0] = '\0';
	sink = api->open(config, error);
	if (sink == NULL && error[0] == '\0')
		outbox_module_broken("no sink, and no message");
	return sink;
}

/* See sink.h. After an error, perhaps the sink has the event. */
OutboxSinkAnswer
outbox_module_publish(const OutboxSinkApi *api, OutboxSink *sink,
					  const OutboxRecord *record, OutboxFailure *failure,
					  char *error)
{
	OutboxSinkAnswer answer;

	*failure = (OutboxFailure) -1;
	error[0] = '\0';
	answer = api->publish(sink, record, failure, error);
	if (likely(answer == OUTBOX_SINK_ACCEPTED))
		return answer;
	if (IS_BEYOND(answer, OUTBOX_SINK_REFUSED))
		outbox_module_broken("an unknown answer");
	if (answer == OUTBOX_SINK_REFUSED &&
		IS_BEYOND(*failure, OUTBOX_FAILURE_INVALID))
		outbox_module_broken("a refusal with an unknown failure");
	if (answer == OUTBOX_SINK_REFUSED && error[0] == '\0')
		outbox_module_broken("a refusal without a message");
	return answer;
}

/* What is wrong with the answer to a question about a topic; NULL = nothing */
static const char *
wrong_topic(const OutboxSinkEvent *event)
{
	if (event->topic == NULL || strlen(event->topic) > OUTBOX_TOPIC_MAX)
		return "an answer about an unknown topic";
	switch (event->state)
	{
		case OUTBOX_TOPIC_FINE:
		case OUTBOX_TOPIC_SILENT:
			return NULL;
		case OUTBOX_TOPIC_FAULTY:
		case OUTBOX_TOPIC_LEADERLESS:
			if (event->message == NULL)
				return "a topic is at fault, without a message";
			if (IS_BEYOND(event->failure, OUTBOX_FAILURE_INVALID))
				return "a topic has an unknown failure";
			return NULL;
	}
	return "a topic is in an unknown state";
}

/* What is wrong with statistics; NULL = nothing */
static const char *
wrong_statistics(const OutboxSinkStatistics *statistics)
{
	if (statistics == NULL)
		return "statistics are missing";
	if (statistics->round_trip_us < 0 || statistics->round_trip_p99_us < 0 ||
		statistics->throttle_ms < 0 || statistics->throttle_max_ms < 0)
		return "statistics below zero";
	return NULL;
}

/* What is wrong with an event; NULL = nothing */
static const char *
wrong(const OutboxSinkEvent *event)
{
	switch (event->type)
	{
		case OUTBOX_SINK_DELIVERED:
		case OUTBOX_SINK_PURGED:
			return NULL;
		case OUTBOX_SINK_TOPIC:
			return wrong_topic(event);
		case OUTBOX_SINK_LOST:
		case OUTBOX_SINK_UNREACHABLE:
			if (IS_BEYOND(event->trouble, OUTBOX_TROUBLES - 1))
				return "an unknown trouble";
			/* fall through */
		case OUTBOX_SINK_FAILED:
			if (IS_BEYOND(event->failure, OUTBOX_FAILURE_INVALID))
				return "an unknown failure";
			/* fall through */
		case OUTBOX_SINK_FATAL:
		case OUTBOX_SINK_LOG:
			return event->message != NULL ? NULL : "a message is missing";
		case OUTBOX_SINK_STATISTICS:
			return wrong_statistics(event->statistics);
	}
	return "something unknown has happened";
}

/* See sink.h. After an error, the next call goes on behind it. */
bool
outbox_module_poll(const OutboxSinkApi *api, OutboxSink *sink,
				   OutboxSinkEvent *event)
{
	const char *how;

	if (!api->poll(sink, event))
		return false;
	if (likely(event->type == OUTBOX_SINK_DELIVERED))
		return true;
	how = wrong(event);
	if (how != NULL)
		outbox_module_broken(how);
	return true;
}
