/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Every setting, its unit, its range, and the check that refuses
 *	  nonsense when the configuration is read, so that what is running goes
 *	  on with the value it has.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <limits.h>

#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "guc.h"
#include "guc_health.h"
#include "guc_trace.h"
#include "sink/kafka_rules.h"
#include "sink/properties.h"
#include "uri.h"

bool outbox_enabled = true;
char *outbox_databases = NULL;
int outbox_max_databases = 64;
int outbox_max_relays = 256;
int outbox_max_subscribers = 8;
int outbox_idle_timeout_ms = 0;
int outbox_max_event_size_bytes = 1000000;
int outbox_emit_now_timeout_ms = 5000;
int outbox_window_events = 65536;
int outbox_window_size_kb = 64 * 1024;
int outbox_max_pending = 0;
int outbox_max_pending_size_kb = 0;
int outbox_retention_s = 86400;
int outbox_segments = OUTBOX_SEGMENTS;
int outbox_on_failure = OUTBOX_ON_FAILURE_BLOCK_KEY;
int outbox_retry_base_delay_ms = 1000;
double outbox_retry_multiplier = 2;
int outbox_retry_max_delay_ms = 300000;
double outbox_retry_jitter = 0.2;
int outbox_retry_max_attempts = 20;
char *outbox_dead_letter_topic = NULL;
int outbox_dead_letter_retention_s = 30 * 86400;
int outbox_audit_retention_s = 90 * 86400;
int outbox_inbox_retention_s = 7 * 86400;
bool outbox_log_events = false;
int outbox_event_headers = OUTBOX_EVENT_HEADERS_PLAIN;
char *outbox_event_source = NULL;
char *outbox_bootstrap_servers = NULL;
char *outbox_kafka_properties = NULL;
char *outbox_kafka_properties_file = NULL;
char *outbox_cluster_directory = NULL;

static const struct config_enum_entry on_failure_options[] = {
	{"block_key", OUTBOX_ON_FAILURE_BLOCK_KEY, false},
	{"skip", OUTBOX_ON_FAILURE_SKIP, false},
	{"halt", OUTBOX_ON_FAILURE_HALT, false},
	{NULL, 0, false},
};

static const struct config_enum_entry event_headers_options[] = {
	{"none", OUTBOX_EVENT_HEADERS_NONE, false},
	{"plain", OUTBOX_EVENT_HEADERS_PLAIN, false},
	{"cloudevents", OUTBOX_EVENT_HEADERS_CLOUDEVENTS, false},
	{"debezium", OUTBOX_EVENT_HEADERS_DEBEZIUM, false},
	{NULL, 0, false},
};

/*
 * A value that is refused while the server starts would give way to the
 * default, with which a relay might publish elsewhere, or to other partitions.
 * So it is told, and becomes one that lets nothing be published; nor does it
 * show what may be a secret.
 */
static bool
refuse_at_start(const char *name, char *value, const char *detail)
{
	if (!process_shared_preload_libraries_in_progress)
		return false;
	ereport(WARNING, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					  errmsg("invalid value for parameter \"%s\"", name),
					  errdetail("%s", detail),
					  errhint("Nothing is published until it is corrected.")));
	memset(value, '?', strlen(value));
	return true;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char *copy = pstrdup(*newval);
	List *names;
	bool ok = SplitIdentifierString(copy, ',', &names);

	(void) extra;
	(void) source;
	list_free(names);
	pfree(copy);
	if (ok)
		return true;
	GUC_check_errdetail("List syntax is invalid.");
	return refuse_at_start("outbox.databases", *newval,
						   "List syntax is invalid.");
}

static bool
check_event_source(char **newval, void **extra, GucSource source)
{
	int bytes = (int) strlen(*newval);

	(void) extra;
	(void) source;
	if (bytes == 0 || (bytes <= OUTBOX_ATTRIBUTE_MAX &&
					   outbox_uri_is_reference(*newval, bytes)))
		return true;
	GUC_check_errdetail("It is a URI or a path of one, with at most %d bytes.",
						OUTBOX_ATTRIBUTE_MAX);
	return false;
}

static bool
check_kafka_properties(char **newval, void **extra, GucSource source)
{
	OutboxProperties *properties;
	char error[OUTBOX_PROPERTY_ERROR_MAX];

	(void) extra;
	(void) source;
	properties = outbox_properties_parse(&outbox_kafka_kind, *newval, error);
	if (properties == NULL)
	{
		GUC_check_errcode(ERRCODE_INVALID_PARAMETER_VALUE);
		/* core's own message would show the value, which may be a secret */
		GUC_check_errmsg("invalid value for parameter "
						 "\"outbox.kafka_properties\"");
		GUC_check_errdetail("%s", error);
		return refuse_at_start("outbox.kafka_properties", *newval, error);
	}
	outbox_properties_free(properties);
	return true;
}

/* The kind of broker that events are published to. There is one so far. */
const OutboxSinkKind *
outbox_guc_sink_kind(void)
{
	return &outbox_kafka_kind;
}

/*
 * Is this database one of outbox.databases? An empty list means all. folded,
 * unless it is NULL, becomes whether it only would be if its name were quoted.
 */
bool
outbox_guc_database_allowed(const char *database, bool *folded)
{
	char *copy = pstrdup(outbox_databases);
	List *names;
	ListCell *cell;
	bool allowed = false;
	bool almost = false;

	/* the check hook has seen to the syntax */
	if (SplitIdentifierString(copy, ',', &names))
	{
		allowed = (names == NIL);
		foreach (cell, names)
		{
			if (strcmp((char *) lfirst(cell), database) == 0)
				allowed = true;
			else if (pg_strcasecmp((char *) lfirst(cell), database) == 0)
				almost = true;
		}
	}
	list_free(names);
	pfree(copy);
	if (folded != NULL)
		*folded = almost && !allowed;
	return allowed;
}

static void
define_process_settings(void)
{
	DefineCustomBoolVariable("outbox.enabled", "Publishes committed events.",
							 "While it is off, events are kept and nothing "
							 "is published.",
							 &outbox_enabled, true, PGC_SIGHUP, 0, NULL, NULL,
							 NULL);

	DefineCustomStringVariable("outbox.databases",
							   "Databases whose events are published.",
							   "An empty list means every database that has "
							   "the extension.",
							   &outbox_databases, "", PGC_SIGHUP,
							   GUC_LIST_INPUT, check_databases, NULL, NULL);

	DefineCustomIntVariable("outbox.max_databases",
							"How many databases can use outbox at once.", NULL,
							&outbox_max_databases, 64, 1, 65536,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.max_relays",
							"How many relays can run at once, in all "
							"databases together.",
							"Each takes one of max_worker_processes, too.",
							&outbox_max_relays, 256, 1, 262143, PGC_POSTMASTER,
							0, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.max_subscribers",
							"How many processes of subscriptions can run at "
							"once, in all databases together.",
							"Each takes one of max_worker_processes, too; if "
							"these are short, relays come first.",
							&outbox_max_subscribers, 8, 0, 262143,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.idle_timeout",
							"After how long without anything to do a relay "
							"ends its process.",
							"It is started again by the next commit with "
							"events. 0 means never.",
							&outbox_idle_timeout_ms, 0, 0, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_limits(void)
{
	DefineCustomIntVariable("outbox.max_event_size",
							"The largest event that outbox_emit() accepts.",
							"Key, payload and headers together. The topic's "
							"max.message.bytes in Kafka must not be lower.",
							&outbox_max_event_size_bytes, 1000000, 1024,
							512 * 1024 * 1024, PGC_SIGHUP, GUC_UNIT_BYTE, NULL,
							NULL, NULL);

	DefineCustomIntVariable("outbox.emit_now_timeout",
							"How long outbox_emit_now() waits for a relay.",
							NULL, &outbox_emit_now_timeout_ms, 5000, 1,
							INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL, NULL,
							NULL);

	DefineCustomIntVariable("outbox.max_pending",
							"With more events than that waiting to be "
							"published, outbox_emit() fails.",
							"Those that are parked or delayed wait, too. 0 "
							"means no limit.",
							&outbox_max_pending, 0, 0, INT_MAX, PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.max_pending_size",
							"With more than that waiting to be published, "
							"outbox_emit() fails.",
							"0 means no limit.", &outbox_max_pending_size_kb,
							0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL,
							NULL);

	DefineCustomIntVariable("outbox.window_events",
							"How many events may be on their way to Kafka at "
							"once, unacknowledged.",
							NULL, &outbox_window_events, 65536, 1,
							16 * 1024 * 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"outbox.window_size", "How much memory these events may take.",
		"One event may always be on its way, whatever "
		"its size.",
		&outbox_window_size_kb, 64 * 1024, 64, INT_MAX / 1024, PGC_SIGHUP,
		GUC_UNIT_KB, NULL, NULL, NULL);
}

static void
define_storage_settings(void)
{
	DefineCustomIntVariable("outbox.retention",
							"How long published events are kept.",
							"They can be found and replayed meanwhile. -1 "
							"means forever.",
							&outbox_retention_s, 86400, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"outbox.audit_retention", "How long entries of outbox.audit are kept.",
		"0 means forever.", &outbox_audit_retention_s, 90 * 86400, 0, INT_MAX,
		PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.inbox_retention",
							"How long it is known which messages consumers "
							"have received.",
							"At least; at most, twice as long.",
							&outbox_inbox_retention_s, 7 * 86400, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.segments",
							"How many tables events are written to in turn.",
							"Each takes its share of outbox.retention; with "
							"more of them, space is freed in smaller pieces.",
							&outbox_segments, OUTBOX_SEGMENTS, 3,
							OUTBOX_SEGMENTS, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_failure_settings(void)
{
	DefineCustomEnumVariable("outbox.on_failure",
							 "What happens to later events of a key while "
							 "one is parked.",
							 "block_key: they queue behind it; skip: they "
							 "overtake it; halt: nothing is published.",
							 &outbox_on_failure, OUTBOX_ON_FAILURE_BLOCK_KEY,
							 on_failure_options, PGC_SIGHUP, 0, NULL, NULL,
							 NULL);

	DefineCustomIntVariable("outbox.retry_base_delay",
							"How long a parked event waits before it is "
							"tried again for the first time.",
							NULL, &outbox_retry_base_delay_ms, 1000, 10,
							86400000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL,
							NULL);

	DefineCustomRealVariable("outbox.retry_multiplier",
							 "By how much each delay is longer than the one "
							 "before.",
							 NULL, &outbox_retry_multiplier, 2, 1, 100,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.retry_max_delay",
							"The longest delay between two attempts.", NULL,
							&outbox_retry_max_delay_ms, 300000, 10, 86400000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomRealVariable("outbox.retry_jitter",
							 "By what part a delay may be shorter or longer, "
							 "at random.",
							 NULL, &outbox_retry_jitter, 0.2, 0, 1, PGC_SIGHUP,
							 0, NULL, NULL, NULL);

	DefineCustomIntVariable("outbox.retry_max_attempts",
							"After how many attempts a parked event becomes "
							"a dead letter.",
							"0 means never.", &outbox_retry_max_attempts, 20,
							0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("outbox.dead_letter_topic",
							   "A Kafka topic that gets a copy of each dead "
							   "letter.",
							   "An empty value means none.",
							   &outbox_dead_letter_topic, "", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);

	DefineCustomIntVariable(
		"outbox.dead_letter_retention", "How long dead letters are kept.",
		"0 means forever.", &outbox_dead_letter_retention_s, 30 * 86400, 0,
		INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_log_settings(void)
{
	DefineCustomBoolVariable("outbox.log_events",
							 "Writes a line to the server's log for each "
							 "event that is acknowledged, or fails.",
							 "It is for looking at few events.",
							 &outbox_log_events, false, PGC_SIGHUP, 0, NULL,
							 NULL, NULL);
}

static void
define_envelope_settings(void)
{
	DefineCustomEnumVariable("outbox.event_headers",
							 "Which headers records have beside the event's "
							 "own.",
							 "none; plain: event_id; cloudevents: those of "
							 "CloudEvents 1.0; debezium: id.",
							 &outbox_event_headers, OUTBOX_EVENT_HEADERS_PLAIN,
							 event_headers_options, PGC_SIGHUP, 0, NULL, NULL,
							 NULL);

	DefineCustomStringVariable("outbox.event_source",
							   "The source of events that have none, for "
							   "CloudEvents.",
							   "A URI or a path of one. An empty value means "
							   "the name of the database, behind a \"/\".",
							   &outbox_event_source, "", PGC_SIGHUP, 0,
							   check_event_source, NULL, NULL);
}

static void
define_kafka_settings(void)
{
	DefineCustomStringVariable("outbox.bootstrap_servers",
							   "Kafka brokers to start from, as host:port, "
							   "host:port.",
							   "While it is empty, events are kept and the "
							   "relay waits.",
							   &outbox_bootstrap_servers, "", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("outbox.kafka_properties",
							   "Properties for librdkafka, as name=value "
							   "name='other value'.",
							   "Properties that would break the guarantees "
							   "of outbox are refused.",
							   &outbox_kafka_properties, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, check_kafka_properties,
							   NULL, NULL);

	DefineCustomStringVariable("outbox.kafka_properties_file",
							   "A file of properties for librdkafka, one "
							   "name=value a line; the place for secrets.",
							   "A relative path is taken from the data "
							   "directory. Others than the owner must not "
							   "be able to read it.",
							   &outbox_kafka_properties_file, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);

	DefineCustomStringVariable("outbox.cluster_directory",
							   "Where the files of properties of relays are, "
							   "each for the relay of its name.",
							   "Relay \"audit\" reads audit.properties. A "
							   "relative path is taken from the data "
							   "directory.",
							   &outbox_cluster_directory, "outbox.d",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL,
							   NULL);
}

/* Called once, while the postmaster loads the library. */
void
outbox_guc_define(void)
{
	define_process_settings();
	define_limits();
	define_storage_settings();
	define_failure_settings();
	define_log_settings();
	define_envelope_settings();
	define_kafka_settings();
	outbox_guc_health_define();
	outbox_guc_trace_define();
	MarkGUCPrefixReserved("outbox");
}
