/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Every setting of outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUC_H
#define OUTBOX_GUC_H

#include "outbox.h"

extern bool outbox_enabled;
extern char *outbox_databases;
extern int outbox_max_databases;
extern int outbox_max_event_size_bytes;
extern int outbox_window_events;
extern int outbox_window_size_kb;
extern char *outbox_bootstrap_servers;
extern char *outbox_kafka_properties;
extern char *outbox_kafka_properties_file;

extern void outbox_guc_define(void);
extern bool outbox_guc_database_allowed(const char *database);

#endif /* OUTBOX_GUC_H */
