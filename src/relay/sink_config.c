/*-------------------------------------------------------------------------
 *
 * sink_config.c
 *	  Collects what a sink needs to know, so that a reload can be compared
 *	  with what is running: for relay "default" from the settings and from
 *	  their file of properties, for any other from the file of its name in
 *	  outbox.cluster_directory.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "guc.h"
#include "relay/sink_config.h"
#include "shared/my_relay.h"
#include "shared/policy.h"
#include "shared/wait.h"
#include "sink/client_file.h"
#include "sink/module.h"
#include "sink/property_files.h"

static char correct_it[MAXPGPATH + 32]; /* a hint */

static bool
is_default(void)
{
	return strcmp(outbox_my_relay.name, OUTBOX_DEFAULT_RELAY) == 0;
}

static bool
has_servers(const char *servers)
{
	return servers[strspn(servers, " \t\r\n,")] != '\0';
}

/* The file that tells another relay than "default" where to publish to */
static char *
cluster_file(void)
{
	bool absolute = is_absolute_path(outbox_cluster_directory);

	return psprintf("%s%s%s/%s.properties", absolute ? "" : DataDir,
					absolute ? "" : "/", outbox_cluster_directory,
					outbox_my_relay.name);
}

/*
 * Is nothing there that tells where to publish to? Then error (of
 * OUTBOX_SINK_ERROR_MAX bytes) says what is missing, and hint what to do.
 */
bool
outbox_sink_config_is_missing(char *error, const char **hint)
{
	char *path;
	bool missing;

	if (is_default())
	{
		strlcpy(error, "outbox.bootstrap_servers is not set",
				OUTBOX_SINK_ERROR_MAX);
		return !has_servers(outbox_bootstrap_servers);
	}
	path = cluster_file();
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
look_at_files(OutboxConfig *config, char *error, const char **hint)
{
	if (outbox_property_files_stamp(config->sink.properties, &config->files,
									error))
		return true;
	*hint = "Put a file there that the server's user can read, and reload.";
	return false;
}

/* Takes the settings, for relay "default". */
static bool
take_settings(OutboxConfig *config, char *error)
{
	config->sink.servers = pstrdup(outbox_bootstrap_servers);
	config->sink.client_id = psprintf("outbox-%s", outbox_my_relay.database);
	config->properties = outbox_properties_parse(
		outbox_module_kind(), outbox_kafka_properties, error);
	if (config->properties == NULL)
		return false;
	return outbox_kafka_properties_file[0] == '\0' ||
		   outbox_properties_read_file(outbox_kafka_properties_file,
									   config->properties, error);
}

/* Takes the file of any other relay. */
static bool
take_cluster_file(OutboxConfig *config, char *error, const char **hint)
{
	char *path = cluster_file();
	char *servers;

	config->sink.client_id = psprintf("outbox-%s-%s", outbox_my_relay.database,
									  outbox_my_relay.name);
	config->properties = outbox_properties_new(outbox_module_kind());
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
	config->sink.servers = servers;
	return true;
}

/*
 * Reads the settings as they are now, or the file, for this relay. Returns
 * NULL and a message in error (of OUTBOX_SINK_ERROR_MAX bytes) if they cannot
 * be used; and what helps in hint, if it is not to set others.
 */
OutboxConfig *
outbox_sink_config_read(char *error, const char **hint)
{
	MemoryContext context;
	MemoryContext old_context;
	OutboxConfig *config;
	bool ok;

	StaticAssertStmt(OUTBOX_SINK_ERROR_MAX >= OUTBOX_PROPERTY_ERROR_MAX,
					 "properties write their errors there");

	context = AllocSetContextCreate(TopMemoryContext, "outbox config",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	config = palloc0(sizeof(OutboxConfig));
	config->context = context;
	config->sink.window_events = outbox_window_events;
	config->sink.window_size_kb = outbox_window_size_kb;
	config->sink.wake_fd = outbox_wait_pipe();
	config->sink.topic_prefix = pstrdup(outbox_policy.topic_prefix);
	ok = is_default() ? take_settings(config, error)
					  : take_cluster_file(config, error, hint);
	config->sink.properties = config->properties;
	ok = ok && look_at_files(config, error, hint);
	MemoryContextSwitchTo(old_context);

	if (ok)
		return config;
	outbox_sink_config_free(config);
	return NULL;
}

bool
outbox_sink_config_equal(const OutboxConfig *a, const OutboxConfig *b)
{
	return strcmp(a->sink.servers, b->sink.servers) == 0 &&
		   strcmp(a->sink.client_id, b->sink.client_id) == 0 &&
		   a->sink.window_events == b->sink.window_events &&
		   a->sink.window_size_kb == b->sink.window_size_kb &&
		   strcmp(a->sink.topic_prefix, b->sink.topic_prefix) == 0 &&
		   a->files == b->files &&
		   outbox_properties_equal(a->sink.properties, b->sink.properties);
}

void
outbox_sink_config_free(OutboxConfig *config)
{
	if (config->properties != NULL)
		outbox_properties_wipe(config->properties);
	MemoryContextDelete(config->context);
}
