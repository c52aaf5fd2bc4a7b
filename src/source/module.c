/*-------------------------------------------------------------------------
 *
 * module.c
 *	  Loads the second symbol of a module, the one behind source.h, and calls
 *	  it. What comes back is checked by its form, as sink/module.c does: a
 *	  module that breaks the rules raises an error here, and nothing else sees
 *	  what it has said. Whether a partition is one that it was told to read,
 *	  the subscriber knows.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "fmgr.h"

#include "sink/module.h"
#include "source/module.h"

/* An enum whose last value is that; a module may say anything */
#define IS_BEYOND(value, last) ((uint32) (value) > (uint32) (last))

/* What a table of functions lacks; NULL = nothing */
static const char *
missing(const OutboxSourceApi *api)
{
	if (api->version == NULL || api->is_same_message == NULL ||
		api->open == NULL || api->ask_topic == NULL ||
		api->ask_offset == NULL || api->start == NULL || api->stop == NULL ||
		api->poll == NULL || api->end_offset == NULL || api->tell == NULL ||
		api->close == NULL || api->has_ended == NULL)
		return "a function is missing";
	for (int i = 0; i < OUTBOX_TROUBLES; i++)
	{
		if (api->words == NULL || api->words[i].what == NULL)
			return "it has no words for a trouble";
	}
	return NULL;
}

/*
 * Loads the module of a kind of broker, with its client library; for a
 * subscriber's process only. Raises an error if it is not there, or does not
 * fit.
 */
const OutboxSourceApi *
outbox_source_load(const OutboxSinkKind *kind)
{
	OutboxSourceApiFunction function;
	const OutboxSourceApi *api;

	/* this checks its first symbol, and knows its name then */
	(void) outbox_module_load(kind);
	function = (OutboxSourceApiFunction) load_external_function(
		kind->library, OUTBOX_SOURCE_SYMBOL, true, NULL);
	api = function();
	if (api == NULL)
	{
		outbox_module_broken("it has no functions to read");
		return NULL; /* keep compiler quiet */
	}
	if (api->interface != OUTBOX_SOURCE_INTERFACE)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("\"%s\" is of another version than outbox",
							   kind->library),
						errdetail("Its interface to read is %u, that of "
								  "outbox is %u.",
								  api->interface, OUTBOX_SOURCE_INTERFACE),
						errhint("Install both from one build, and restart the "
								"server.")));
	if (missing(api) != NULL)
		outbox_module_broken(missing(api));
	return api;
}

/* See source.h. */
OutboxSource *
outbox_source_open(const OutboxSourceApi *api,
				   const OutboxSourceConfig *config, char *error)
{
	OutboxSource *source;

	error[0] = '\0';
	source = api->open(config, error);
	if (source == NULL && error[0] == '\0')
		outbox_module_broken("no source, and no message");
	return source;
}

/* What is wrong with a message; NULL = nothing */
static const char *
wrong_message(const OutboxSourceMessage *data)
{
	if (data == NULL)
		return "a message is missing";
	if (data->offset < 0 || data->offset == PG_INT64_MAX)
		return "a message without an offset";
	if (data->header_count < 0 ||
		(data->header_count > 0 && data->headers == NULL))
		return "a message's headers are missing";
	for (int i = 0; i < data->header_count; i++)
	{
		if (data->headers[i].name == NULL || data->headers[i].name_bytes < 0 ||
			data->headers[i].value_bytes < 0)
			return "a header without a name";
	}
	return NULL;
}

/* What is wrong with the answer to a question about a topic; NULL = nothing */
static const char *
wrong_topic(const OutboxSourceEvent *event)
{
	switch (event->state)
	{
		case OUTBOX_TOPIC_FINE:
			return event->count > 0 ? NULL : "a topic without partitions";
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

/* What is wrong with the place that an event is about; NULL = nothing */
static const char *
wrong_place(const OutboxSourceEvent *event)
{
	if (event->topic == NULL || strlen(event->topic) > OUTBOX_TOPIC_MAX)
		return "something about an unknown topic";
	if (event->partition < 0)
		return "something about an unknown partition";
	return NULL;
}

/* What is wrong with something that is no message of a topic; NULL = nothing */
static const char *
wrong_failure(const OutboxSourceEvent *event)
{
	if (IS_BEYOND(event->failure, OUTBOX_FAILURE_INVALID))
		return "an unknown failure";
	if (IS_BEYOND(event->trouble, OUTBOX_TROUBLES - 1))
		return "an unknown trouble";
	return event->message != NULL ? NULL : "a message is missing";
}

/* What is wrong with an event; NULL = nothing */
static const char *
wrong(const OutboxSourceEvent *event)
{
	const char *how = wrong_place(event);

	switch (event->type)
	{
		case OUTBOX_SOURCE_MESSAGE:
			return how ? how : wrong_message(event->data);
		case OUTBOX_SOURCE_END:
			if (how == NULL && event->offset < 0)
				return "an end without an offset";
			return how;
		case OUTBOX_SOURCE_TOPIC:
			return how ? how : wrong_topic(event);
		case OUTBOX_SOURCE_OFFSET:
			if (how != NULL || event->offset >= 0)
				return how;
			return wrong_failure(event);
		case OUTBOX_SOURCE_OUT_OF_RANGE:
			return how;
		case OUTBOX_SOURCE_TROUBLED:
			return how ? how : wrong_failure(event);
		case OUTBOX_SOURCE_LOST:
		case OUTBOX_SOURCE_UNREACHABLE:
		case OUTBOX_SOURCE_FATAL:
		case OUTBOX_SOURCE_LOG:
			return wrong_failure(event);
	}
	return "something unknown has happened";
}

/* See source.h. After an error, the next call goes on behind it. */
bool
outbox_source_poll(const OutboxSourceApi *api, OutboxSource *source,
				   OutboxSourceEvent *event)
{
	const char *how;

	if (!api->poll(source, event))
		return false;
	how = wrong(event);
	if (how != NULL)
		outbox_module_broken(how);
	return true;
}
