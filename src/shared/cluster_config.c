/*-------------------------------------------------------------------------
 *
 * cluster_config.c
 *	  How a cluster is reached: "default" by the settings and their file of
 *	  properties, any other by the file of its name in
 *	  outbox.cluster_directory. What a relay or a subscriber has read can be
 *	  compared, after a reload, with what is running.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "guc.h"
#include "shared/cluster_config.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "sink/client_file.h"
#include "sink/property_files.h"

static char correct_it[MAXPGPATH + 32]; /* a hint */
static char *refused = NULL; /* the error told last, to tell it once */

static bool
is_default(const char *cluster)
{
	return strcmp(cluster, OUTBOX_DEFAULT_RELAY) == 0;
}

static bool
has_servers(const char *servers)
{
	return servers[strspn(servers, " \t\r\n,")] != '\0';
}

/* The file that tells how another cluster than "default" is reached */
static char *
cluster_file(const char *cluster)
{
	bool absolute = is_absolute_path(outbox_cluster_directory);

	return psprintf("%s%s%s/%s.properties", absolute ? "" : DataDir,
					absolute ? "" : "/", outbox_cluster_directory, cluster);
}

/*
 * Is nothing there that tells how the cluster is reached? Then error (of
 * OUTBOX_SINK_ERROR_MAX bytes) says what is missing, and hint what to do.
 */
bool
outbox_cluster_config_is_missing(const char *cluster, char *error,
								 const char **hint)
{
	char *path;
	bool missing;

	if (is_default(cluster))
	{
		strlcpy(error, "outbox.bootstrap_servers is not set",
				OUTBOX_SINK_ERROR_MAX);
		return !has_servers(outbox_bootstrap_servers);
	}
	path = cluster_file(cluster);
	missing =
		(access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR));
	snprintf(error, OUTBOX_SINK_ERROR_MAX, "there is no file \"%s\"", path);
	*hint = "Write bootstrap.servers = host:port into that file, and reload.";
	pfree(path);
	return missing;
}

/* Looks at the files that properties name: a certificate or a key is renewed
 * without another word in the settings. */
static bool
look_at_files(OutboxClusterConfig *config, char *error, const char **hint)
{
	if (outbox_property_files_stamp(config->properties, &config->files, error))
		return true;
	*hint = "Put a file there that the server's user can read, and reload.";
	return false;
}

/* Takes the settings, for cluster "default". */
static bool
take_settings(OutboxClusterConfig *config, char *error)
{
	config->servers = pstrdup(outbox_bootstrap_servers);
	config->properties = outbox_properties_parse(
		outbox_guc_sink_kind(), outbox_kafka_properties, error);
	if (config->properties == NULL)
		return false;
	return outbox_kafka_properties_file[0] == '\0' ||
		   outbox_properties_read_file(outbox_kafka_properties_file,
									   config->properties, error);
}

/* Takes the file of any other one. */
static bool
take_cluster_file(OutboxClusterConfig *config, const char *cluster,
				  char *error, const char **hint)
{
	char *path = cluster_file(cluster);
	char *servers;

	config->properties = outbox_properties_new(outbox_guc_sink_kind());
	snprintf(correct_it, sizeof(correct_it),
			 "Correct file \"%s\", and reload.", path);
	*hint = correct_it;
	if (!outbox_client_file_read(path, config->properties, &servers, error))
		return false;
	if (servers == NULL || !has_servers(servers))
	{
		snprintf(error, OUTBOX_SINK_ERROR_MAX,
				 "File \"%s\" has no bootstrap.servers.", path);
		return false;
	}
	config->servers = servers;
	return true;
}

/*
 * Reads how a cluster is reached now; client: as whom we come, after the name
 * of the database ("" = that is all). Returns NULL and a message in error (of
 * OUTBOX_SINK_ERROR_MAX bytes) if that cannot be used; and what helps in hint,
 * if it is not to set other settings.
 */
OutboxClusterConfig *
outbox_cluster_config_read(const char *cluster, const char *client,
						   char *error, const char **hint)
{
	MemoryContext context;
	MemoryContext old_context;
	OutboxClusterConfig *config;
	bool ok;

	StaticAssertStmt(OUTBOX_SINK_ERROR_MAX >= OUTBOX_PROPERTY_ERROR_MAX,
					 "properties write their errors there");

	context = AllocSetContextCreate(TopMemoryContext, "outbox config",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	config = palloc0(sizeof(OutboxClusterConfig));
	config->context = context;
	config->client_id = psprintf("outbox-%s%s%s", outbox_my_relay.database,
								 client[0] == '\0' ? "" : "-", client);
	ok = is_default(cluster) ? take_settings(config, error)
							 : take_cluster_file(config, cluster, error, hint);
	ok = ok && look_at_files(config, error, hint);
	MemoryContextSwitchTo(old_context);

	if (ok)
		return config;
	outbox_cluster_config_free(config);
	return NULL;
}

bool
outbox_cluster_config_equal(const OutboxClusterConfig *a,
							const OutboxClusterConfig *b)
{
	return strcmp(a->servers, b->servers) == 0 &&
		   strcmp(a->client_id, b->client_id) == 0 && a->files == b->files &&
		   outbox_properties_equal(a->properties, b->properties);
}

void
outbox_cluster_config_free(OutboxClusterConfig *config)
{
	if (config->properties != NULL)
		outbox_properties_wipe(config->properties);
	MemoryContextDelete(config->context);
}

/*
 * Something is wrong with the settings: says so, once. hint: what helps; NULL =
 * to set others. in_use: others are, and stay so.
 */
void
outbox_cluster_config_refuse(const char *error, const char *hint, bool in_use)
{
	char set_others[256];

	if (refused != NULL && strcmp(refused, error) == 0)
		return;
	if (refused != NULL)
		pfree(refused);
	refused = MemoryContextStrdup(TopMemoryContext, error);
	outbox_relay_state_error(error);
	outbox_relay_state_refused(error);
	snprintf(set_others, sizeof(set_others), "Set %s, and reload.",
			 outbox_guc_sink_kind()->settings);
	if (hint == NULL)
		hint = set_others;
	if (in_use)
		ereport(LOG, (errmsg("%s keeps its settings: %s",
							 outbox_my_relay.label, error),
					  errhint("%s", hint)));
	else if (!outbox_relay_state_set(OUTBOX_RELAY_UNCONFIGURED, error, hint))
		outbox_relay_state_still(error, hint);
}

/* The settings are fine; the next refusal is news. */
void
outbox_cluster_config_accept(void)
{
	if (refused != NULL)
		pfree(refused);
	refused = NULL;
	outbox_relay_state_refused(NULL);
}
