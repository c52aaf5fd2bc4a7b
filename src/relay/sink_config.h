/*-------------------------------------------------------------------------
 *
 * sink_config.h
 *	  The settings that a sink was opened with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SINK_CONFIG_H
#define OUTBOX_SINK_CONFIG_H

#include "shared/cluster_config.h"
#include "sink/sink.h"

/* A snapshot of the settings, in the memory context of cluster */
typedef struct OutboxConfig
{
	OutboxClusterConfig *cluster;
	OutboxSinkConfig sink;
} OutboxConfig;

extern bool outbox_sink_config_is_missing(char *error, const char **hint);
extern OutboxConfig *outbox_sink_config_read(char *error, const char **hint);
extern bool outbox_sink_config_equal(const OutboxConfig *a,
									 const OutboxConfig *b);
extern void outbox_sink_config_free(OutboxConfig *config);

#endif /* OUTBOX_SINK_CONFIG_H */
