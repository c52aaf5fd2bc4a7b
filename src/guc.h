/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Every setting of outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUC_H
#define OUTBOX_GUC_H

#include "sink/kind.h"

/* What happens to later events of a key while one of it is parked */
typedef enum OutboxOnFailure
{
	OUTBOX_ON_FAILURE_BLOCK_KEY, /* they queue behind it */
	OUTBOX_ON_FAILURE_SKIP,      /* they overtake it */
	OUTBOX_ON_FAILURE_HALT,      /* nothing is published until it is gone */
} OutboxOnFailure;

/* Which headers a record has beside the event's own; see format/envelope.c */
typedef enum OutboxEventHeaders
{
	OUTBOX_EVENT_HEADERS_NONE,
	OUTBOX_EVENT_HEADERS_PLAIN,
	OUTBOX_EVENT_HEADERS_CLOUDEVENTS,
	OUTBOX_EVENT_HEADERS_DEBEZIUM,
} OutboxEventHeaders;

extern bool outbox_enabled;
extern char *outbox_databases;
extern int outbox_max_databases;
extern int outbox_max_relays;
extern int outbox_max_subscribers;
extern int outbox_idle_timeout_ms; /* ms; 0 = relays do not end */
extern int outbox_max_event_size_bytes;
extern int outbox_emit_now_timeout_ms;
extern int outbox_window_events;
extern int outbox_window_size_kb;
extern int outbox_max_pending;
extern int outbox_max_pending_size_kb;
extern int outbox_retention_s;
extern int outbox_segments;
extern int outbox_on_failure;
extern int outbox_retry_base_delay_ms;
extern double outbox_retry_multiplier;
extern int outbox_retry_max_delay_ms;
extern double outbox_retry_jitter;
extern int outbox_retry_max_attempts;
extern char *outbox_dead_letter_topic;
extern int outbox_dead_letter_retention_s;
extern int outbox_audit_retention_s;
extern int outbox_inbox_retention_s; /* s */
extern bool outbox_log_events;
extern int outbox_event_headers;
extern char *outbox_event_source;
extern char *outbox_bootstrap_servers;
extern char *outbox_kafka_properties;
extern char *outbox_kafka_properties_file;
extern char *outbox_cluster_directory;

extern void outbox_guc_define(void);
extern const OutboxSinkKind *outbox_guc_sink_kind(void);
extern bool outbox_guc_database_allowed(const char *database, bool *folded);

#endif /* OUTBOX_GUC_H */
