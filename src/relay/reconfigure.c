/*-------------------------------------------------------------------------
 *
 * reconfigure.c
 *	  Opens the stream's sink with new settings, or with none: then nothing is
 *	  published, by the stream or by any other task.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "publish/answers.h"
#include "relay/reconfigure.h"
#include "relay/sink_config.h"
#include "relay/tasks.h"
#include "shared/cluster_config.h"
#include "shared/policy.h"
#include "shared/relay_state.h"
#include "shared/shutdown.h"
#include "sink/module.h"

/* how long new settings wait for answers from the brokers of the old ones */
#define SWITCH_GRACE_MS 5000

static OutboxConfig *running = NULL; /* that the sink was opened with */

/* The settings in use; NULL if there are none yet that can be used */
const OutboxSinkConfig *
outbox_reconfigure_running(void)
{
	return running ? &running->sink : NULL;
}

/*
 * The sinks of the settings that were in use have some time for their answers,
 * and are closed. False if the process is to end, and has other things to do.
 */
static bool
leave(OutboxStream *stream)
{
	/* in an outage, what has not been sent is not waited for */
	if (stream->outage.since != 0)
		outbox_stream_end(stream);
	outbox_answers_drain(stream, SWITCH_GRACE_MS);
	outbox_tasks_drain(SWITCH_GRACE_MS);
	if (outbox_shutdown_is_requested())
		return false;
	outbox_stream_close(stream);
	outbox_tasks_close();
	outbox_stream_forget_brokers(stream);
	return true;
}

/* Closes the sinks, if there are any. False if the process is to end. */
static bool
stop(OutboxStream *stream)
{
	if (running == NULL)
		return true;
	if (!leave(stream))
		return false;
	outbox_sink_config_free(running);
	running = NULL;
	outbox_cluster_config_accept();
	return true;
}

/* There are no brokers to publish to: stops until there are. */
static void
rest(OutboxStream *stream, const char *why, const char *hint)
{
	if (stop(stream))
		outbox_cluster_config_refuse(why, hint, running != NULL);
}

static void
show_paused(void)
{
	outbox_relay_state_set(
		OUTBOX_RELAY_PAUSED,
		"Events are kept, and published when it is resumed",
		"outbox.paused tells by whom, and why; outbox.resume() resumes it.");
}

/*
 * The relay is paused: what the sinks have not sent yet is given back, what is
 * under way is waited for, and there is no sink until it is resumed.
 */
static void
pause(OutboxStream *stream)
{
	show_paused();
	if (running != NULL)
		outbox_stream_end(stream);
	if (!stop(stream))
		return;
	outbox_cluster_config_accept();
	/* the last answers may have told otherwise */
	show_paused();
}

/* Tells where it publishes to, which is new. */
static void
show_servers(const OutboxSinkConfig *config)
{
	char *where = psprintf(
		"It publishes to %s%s%s%s", config->servers,
		config->topic_prefix[0] ? ", with \"" : "", config->topic_prefix,
		config->topic_prefix[0] ? "\" before names of topics" : "");

	if (!outbox_relay_state_set(OUTBOX_RELAY_PUBLISHING, where, NULL))
		outbox_relay_state_still(where, NULL);
	pfree(where);
}

/*
 * Opens a sink with the settings as they are now, if they or the files that
 * they name differ from those of the running one; with no brokers set, or while
 * the relay is paused, there is none. Only when the new one is open, the old
 * one is drained and closed: no event is lost, and none is repeated if the old
 * brokers answer.
 */
void
outbox_reconfigure(OutboxStream *stream)
{
	char error[OUTBOX_SINK_ERROR_MAX];
	const char *hint = NULL;
	OutboxConfig *config;
	OutboxSender sender;

	if (outbox_policy.paused)
	{
		pause(stream);
		return;
	}
	if (outbox_sink_config_is_missing(error, &hint))
	{
		rest(stream, error, hint);
		return;
	}
	config = outbox_sink_config_read(error, &hint);
	if (config == NULL)
	{
		outbox_cluster_config_refuse(error, hint, running != NULL);
		return;
	}
	if (running != NULL && outbox_sink_config_equal(config, running))
	{
		outbox_sink_config_free(config);
		outbox_cluster_config_accept();
		return;
	}

	outbox_sender_init(&sender, stream->sender.api, stream->sender.label);
	if (!outbox_sender_try_open(&sender, &config->sink, error))
	{
		outbox_sink_config_free(config);
		outbox_cluster_config_refuse(error, hint, running != NULL);
		return;
	}

	if (!leave(stream))
	{
		/* the brokers of the old ones have some time left */
		outbox_sender_close(&sender);
		outbox_sink_config_free(config);
		return;
	}
	outbox_stream_open(stream, &sender, &config->sink);
	if (running != NULL)
		outbox_sink_config_free(running);
	running = config;
	outbox_cluster_config_accept();
	show_servers(&config->sink);
}
