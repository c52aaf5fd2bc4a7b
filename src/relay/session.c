/*-------------------------------------------------------------------------
 *
 * session.c
 *	  The settings of the sessions of the launcher, the relays and the
 *	  subscribers: what could stop or distort them has the value that they
 *	  need, whatever the configuration, ALTER DATABASE or ALTER ROLE say.
 *
 * Left alone is what only those feel who ask for it: how much is logged, how
 * values look in a client, memory, costs of input and output. Libraries that
 * sessions are to load are not loaded into background workers.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_authid.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "relay/session.h"

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/* Names that a version does not know are passed over. */
static const Setting of_relay[] = {
	/* it is running already, and ends the session at the next interrupt */
	{"transaction_timeout", "0"},

	/* who we are, and which objects and rows we see */
	{"role", "none"},
	{"search_path", "pg_catalog, pg_temp"},
	{"row_security", "off"},
	{"restrict_nonsystem_relation_kind", ""},
	/* no triggers: neither our own, see load_guard.c, nor anybody's else */
	{"session_replication_role", "replica"},
	{"event_triggers", "off"},

	/* transactions: what the relay writes, it can write again */
	{"synchronous_commit", "off"},
	{"commit_delay", "0"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},

	/* what would end the session, or a statement */
	{"exit_on_error", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"temp_file_limit", "-1"},
	{"temp_tablespaces", ""},

	/* damaged rows must be an error, not disappear */
	{"zero_damaged_pages", "off"},
	{"ignore_checksum_failure", "off"},

	/* what our SQL means */
	{"standard_conforming_strings", "on"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"bytea_output", "hex"},
	{"xmloption", "content"},

	/* plans must use indexes whatever the statistics say: our tables are empty
	 * most of the time, so they mislead */
	{"plan_cache_mode", "force_generic_plan"},
	{"jit", "off"},
	{"geqo", "off"},
	{"force_parallel_mode", "off"},
	{"debug_parallel_query", "off"},
	{"max_parallel_workers_per_gather", "0"},
	{"max_parallel_maintenance_workers", "0"},
	{"constraint_exclusion", "partition"},
	{"from_collapse_limit", "8"},
	{"join_collapse_limit", "8"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"enable_sort", "off"},
	{"enable_incremental_sort", "off"},
	{"enable_indexscan", "on"},
	{"enable_indexonlyscan", "on"},
	{"enable_tidscan", "on"},
	{"enable_nestloop", "on"},
	{"enable_hashjoin", "on"},
	{"enable_mergejoin", "on"},
	{"enable_hashagg", "on"},
	{"enable_material", "on"},
	{"enable_memoize", "on"},
	{"seq_page_cost", "1"},
	{"random_page_cost", "4"},
	{"cpu_tuple_cost", "0.01"},
	{"cpu_index_tuple_cost", "0.005"},
	{"cpu_operator_cost", "0.0025"},

	/* lines in the log for each statement of a loop that never ends */
	{"log_parser_stats", "off"},
	{"log_planner_stats", "off"},
	{"log_executor_stats", "off"},
	{"log_statement_stats", "off"},
	{"debug_print_parse", "off"},
	{"debug_print_rewritten", "off"},
	{"debug_print_plan", "off"},
};

/* Of a subscriber: functions of users are to find what they find in a session
 * of theirs in this database. What is here, they cannot change for good. */
static const Setting of_subscriber[] = {
	{"transaction_timeout", "0"},

	{"role", "none"},
	{"search_path", "pg_catalog, pg_temp"},
	{"restrict_nonsystem_relation_kind", ""},
	{"session_replication_role", "origin"},

	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},

	{"exit_on_error", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},

	{"zero_damaged_pages", "off"},
	{"ignore_checksum_failure", "off"},
};

static void
pin(const Setting *settings, int count)
{
	/* ALTER DATABASE .. SET session_authorization has been obeyed, too */
	SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);
	for (int i = 0; i < count; i++)
	{
		if (GetConfigOption(settings[i].name, true, false) != NULL)
			SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET,
							PGC_S_OVERRIDE);
	}
}

/* To be called once, as soon as the process is connected. */
void
outbox_session_pin(void)
{
	pin(of_relay, lengthof(of_relay));
}

/* The same for one that runs functions of users */
void
outbox_session_pin_subscriber(void)
{
	pin(of_subscriber, lengthof(of_subscriber));
	/* the setting is what functions find; see identity.c */
	SessionReplicationRole = SESSION_REPLICATION_ROLE_REPLICA;
}
