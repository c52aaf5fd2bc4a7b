/*-------------------------------------------------------------------------
 *
 * sink_config.c
 *	  Collects what a sink needs to know, so that a reload can be compared
 *	  with what is running: how the relay's cluster is reached, which has the
 *	  relay's name, and what is of the relay.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "guc.h"
#include "relay/sink_config.h"
#include "shared/my_relay.h"
#include "shared/policy.h"
#include "shared/wait.h"

/* See cluster_config.c. */
bool
outbox_sink_config_is_missing(char *error, const char **hint)
{
	return outbox_cluster_config_is_missing(outbox_my_relay.name, error, hint);
}

/*
 * Reads the settings as they are now, or the file, for this relay. Returns
 * NULL and a message in error (of OUTBOX_SINK_ERROR_MAX bytes) if they cannot
 * be used; and what helps in hint, if it is not to set others.
 */
OutboxConfig *
outbox_sink_config_read(char *error, const char **hint)
{
	const char *name = outbox_my_relay.name;
	bool is_default = (strcmp(name, OUTBOX_DEFAULT_RELAY) == 0);
	OutboxClusterConfig *cluster =
		outbox_cluster_config_read(name, is_default ? "" : name, error, hint);
	OutboxConfig *config;

	if (cluster == NULL)
		return NULL;
	config = MemoryContextAllocZero(cluster->context, sizeof(OutboxConfig));
	config->cluster = cluster;
	config->sink.servers = cluster->servers;
	config->sink.client_id = cluster->client_id;
	config->sink.properties = cluster->properties;
	config->sink.window_events = outbox_window_events;
	config->sink.window_size_kb = outbox_window_size_kb;
	config->sink.wake_fd = outbox_wait_pipe();
	config->sink.topic_prefix =
		MemoryContextStrdup(cluster->context, outbox_policy.topic_prefix);
	return config;
}

bool
outbox_sink_config_equal(const OutboxConfig *a, const OutboxConfig *b)
{
	return outbox_cluster_config_equal(a->cluster, b->cluster) &&
		   a->sink.window_events == b->sink.window_events &&
		   a->sink.window_size_kb == b->sink.window_size_kb &&
		   strcmp(a->sink.topic_prefix, b->sink.topic_prefix) == 0;
}

void
outbox_sink_config_free(OutboxConfig *config)
{
	outbox_cluster_config_free(config->cluster);
}
