/*-------------------------------------------------------------------------
 *
 * cluster_config.h
 *	  How a cluster is reached.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CLUSTER_CONFIG_H
#define OUTBOX_CLUSTER_CONFIG_H

#include "sink/sink.h"

/* A snapshot of the settings, or of the file, in a memory context of its own */
typedef struct OutboxClusterConfig
{
	MemoryContext context;
	const char *servers;
	const char *client_id;
	OutboxProperties *properties;
	uint64 files; /* becomes another number when a file is another one */
} OutboxClusterConfig;

extern bool outbox_cluster_config_is_missing(const char *cluster, char *error,
											 const char **hint);
extern OutboxClusterConfig *outbox_cluster_config_read(const char *cluster,
													   const char *client,
													   char *error,
													   const char **hint);
extern bool outbox_cluster_config_equal(const OutboxClusterConfig *a,
										const OutboxClusterConfig *b);
extern void outbox_cluster_config_free(OutboxClusterConfig *config);
extern void outbox_cluster_config_refuse(const char *error, const char *hint,
										 bool in_use);
extern void outbox_cluster_config_accept(void);

#endif /* OUTBOX_CLUSTER_CONFIG_H */
