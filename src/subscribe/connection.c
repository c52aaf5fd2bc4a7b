/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  The life of the source: opened with the settings of the subscription's
 *	  cluster, opened anew when these are others or it has failed, closed. And
 *	  whether brokers answer.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/cluster_config.h"
#include "shared/subscriber_figures.h"
#include "shared/wait.h"
#include "sink/client_log.h"
#include "sink/message.h"
#include "source/module.h"
#include "subscribe/connection.h"
#include "subscribe/partitions.h"

/* what the source may fetch ahead */
#define QUEUE_KB      16384

/* for how long others' answers show that brokers are there */
#define SILENCE_MS    5000

/* a source that has failed: how soon another one is opened, at first and at
 * most */
#define REOPEN_MIN_MS 500
#define REOPEN_MAX_MS 60000

OutboxConnection outbox_connection;

static OutboxClusterConfig *running = NULL; /* that it was opened with */
static char *running_group;                 /* likewise */
static TimestampTz reopen_at = 0;           /* another one, if there is none */
static int failures = 0;                    /* of sources, in a row */

/* To be called once, before all others. */
void
outbox_connection_init(const OutboxSourceApi *api)
{
	outbox_connection.api = api;
	outbox_outage_init(&outbox_connection.outage, api->words,
					   api->is_same_message, OUTBOX_RELAY_CONSUMING);
}

static void
close_source(void)
{
	if (outbox_connection.source != NULL)
		outbox_connection.api->close(outbox_connection.source);
	outbox_connection.source = NULL;
	outbox_partitions_closed();
}

/* Opens a source with that; NULL, and a message in error, if it cannot be. */
static OutboxSource *
open_source(const OutboxClusterConfig *config, char *error)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	OutboxSourceConfig its = {.servers = config->servers,
							  .properties = config->properties,
							  .client_id = config->client_id,
							  .group = outbox_subscriber.subscription->group,
							  .queue_kb = QUEUE_KB,
							  .wake_fd = outbox_wait_pipe()};
	OutboxSource *source =
		outbox_source_open(outbox_connection.api, &its, error);
	char buffer[OUTBOX_SINK_ERROR_MAX];
	const char *message;

	MemoryContextSwitchTo(old_context);
	if (source != NULL)
	{
		outbox_outage_reopened(&outbox_connection.outage);
		return source;
	}
	message = outbox_message_harmless(config->properties, error, buffer);
	if (message != error)
		strlcpy(error, message, OUTBOX_SINK_ERROR_MAX);
	return NULL;
}

/* Another one is opened later. */
static void
reopen_later(long delay_ms)
{
	close_source();
	reopen_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);
}

/* The source reads nothing any more: there will be another one. */
static void
has_failed(const char *message)
{
	outbox_client_log(LOG_WARNING, message);
	reopen_later(
		Min((long) REOPEN_MIN_MS << Min(failures, 16), REOPEN_MAX_MS));
	failures++;
}

/* Closes the source, if there is one, for good. How much is behind is not known
 * until another one has told. */
void
outbox_connection_close(void)
{
	close_source();
	outbox_subscriber_show_lag(OUTBOX_LAG_UNKNOWN, 0);
	reopen_at = 0;
	failures = 0;
	outbox_connection.outage.since = 0;
	outbox_connection.outage.login_failures = 0;
	if (running != NULL)
		outbox_cluster_config_free(running);
	running = NULL;
}

/* Opens another source, if it is time to; false if there is none. */
bool
outbox_connection_reopen(void)
{
	char error[OUTBOX_SINK_ERROR_MAX];

	if (outbox_connection.source != NULL)
		return true;
	if (reopen_at == 0 || GetCurrentTimestamp() < reopen_at)
		return false;
	outbox_connection.source = open_source(running, error);
	if (outbox_connection.source == NULL)
		has_failed(error);
	return outbox_connection.source != NULL;
}

/* Is it opened with the same settings? The group is part of them. */
static bool
is_running(const OutboxClusterConfig *config)
{
	return running != NULL && outbox_cluster_config_equal(config, running) &&
		   strcmp(running_group, outbox_subscriber.subscription->group) == 0;
}

/*
 * The row of the subscription is another one, or the settings may be: opens a
 * source with them, if they differ from those in use. If they cannot be used,
 * those in use stay, if there are any. Returns whether there are.
 */
bool
outbox_connection_reconfigure(void)
{
	const OutboxSubscription *subscription = outbox_subscriber.subscription;
	const char *hint = NULL;
	char error[OUTBOX_SINK_ERROR_MAX];
	OutboxClusterConfig *config;
	OutboxSource *source;

	if (outbox_cluster_config_is_missing(subscription->cluster, error, &hint))
	{
		outbox_connection_close();
		outbox_cluster_config_refuse(error, hint, false);
		return false;
	}
	config = outbox_cluster_config_read(subscription->cluster,
										subscription->name, error, &hint);
	if (config != NULL && is_running(config))
	{
		outbox_cluster_config_free(config);
		outbox_cluster_config_accept();
		return true;
	}
	source = config ? open_source(config, error) : NULL;
	if (source == NULL)
	{
		if (config != NULL)
			outbox_cluster_config_free(config);
		outbox_cluster_config_refuse(error, hint, running != NULL);
		return running != NULL;
	}
	outbox_connection_close();
	outbox_connection.source = source;
	running = config;
	running_group = MemoryContextStrdup(config->context, subscription->group);
	outbox_cluster_config_accept();
	return true;
}

/* Brokers have answered, and not only about what they have. */
void
outbox_connection_works(void)
{
	failures = 0;
	outbox_connection.outage.login_failures = 0;
	outbox_outage_over(&outbox_connection.outage, true);
}

/* What has happened; false if that is all. Its message has no secrets. */
bool
outbox_connection_poll(OutboxSourceEvent *event)
{
	static char buffer[OUTBOX_SINK_ERROR_MAX];

	if (outbox_connection.source == NULL ||
		!outbox_source_poll(outbox_connection.api, outbox_connection.source,
							event))
		return false;
	if (event->message != NULL)
		event->message = outbox_message_harmless(running->properties,
												 event->message, buffer);
	return true;
}

/* Takes in what the source says of brokers and of itself. */
void
outbox_connection_news(const OutboxSourceEvent *event)
{
	OutboxOutage *outage = &outbox_connection.outage;

	switch (event->type)
	{
		case OUTBOX_SOURCE_LOST:
			outbox_outage_lost(outage, true, event->trouble, event->message);
			break;
		case OUTBOX_SOURCE_UNREACHABLE:
			if (event->failure != OUTBOX_FAILURE_LOGIN)
			{
				outbox_outage_unreachable(outage, true);
				break;
			}
			outbox_outage_refused(outage, event->trouble, event->message);
			reopen_later(outbox_outage_login_delay_ms(outage));
			break;
		case OUTBOX_SOURCE_LOG:
			outbox_outage_complaint(outage, event->log_level, event->message);
			break;
		case OUTBOX_SOURCE_FATAL:
			has_failed(event->message);
			break;
		default:
			break;
	}
}

/* Brokers do not say what topics there are. That is an outage, unless they have
 * said something else just now. */
void
outbox_connection_silent(void)
{
	OutboxOutage *outage = &outbox_connection.outage;

	if (TimestampDifferenceExceeds(outage->last_result_at,
								   GetCurrentTimestamp(), SILENCE_MS))
		outbox_outage_silent(outage);
}

/* They have not answered, and it may be known for long enough that none can be
 * reached. */
void
outbox_connection_check(void)
{
	if (outbox_connection.outage.unreachable_since != 0)
		outbox_outage_check(&outbox_connection.outage, true);
}

/* How long until there is something to do, but for what the source tells; -1 =
 * nothing */
long
outbox_connection_timeout_ms(void)
{
	const OutboxOutage *outage = &outbox_connection.outage;

	if (outbox_connection.source == NULL)
		return reopen_at == 0 ? -1
							  : TimestampDifferenceMilliseconds(
									GetCurrentTimestamp(), reopen_at);
	/* while it is merely quiet, there may be nothing to read */
	return outage->unreachable_since == 0
			   ? -1
			   : outbox_outage_timeout_ms(outage, true);
}
