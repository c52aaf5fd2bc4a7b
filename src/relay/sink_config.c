/*-------------------------------------------------------------------------
 *
 * sink_config.c
 *	  Collects what a sink needs to know from the settings and from the file
 *	  of properties, so that a reload can be compared with what is running.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"

#include "guc.h"
#include "relay/sink_config.h"
#include "shared/my_relay.h"
#include "shared/wait.h"
#include "sink/module.h"
#include "sink/property_files.h"

/* Is there anything but blanks and commas in outbox.bootstrap_servers? */
bool
outbox_sink_config_has_servers(void)
{
	/* other relays have files of their own */
	return strcmp(outbox_my_relay.name, OUTBOX_DEFAULT_RELAY) == 0 &&
		   outbox_bootstrap_servers[strspn(outbox_bootstrap_servers,
										   " \t\r\n,")] != '\0';
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

/*
 * Reads the settings as they are now, for a database. Returns NULL and a
 * message in error (of OUTBOX_SINK_ERROR_MAX bytes) if they cannot be used;
 * and what helps in hint, if it is not to set them.
 */
OutboxConfig *
outbox_sink_config_read(const char *database, char *error, const char **hint)
{
	MemoryContext context;
	MemoryContext old_context;
	OutboxConfig *config;
	OutboxProperties *properties;
	bool ok = true;

	StaticAssertStmt(OUTBOX_SINK_ERROR_MAX >= OUTBOX_PROPERTY_ERROR_MAX,
					 "properties write their errors there");

	context = AllocSetContextCreate(TopMemoryContext, "outbox config",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	config = palloc0(sizeof(OutboxConfig));
	config->context = context;
	config->sink.servers = pstrdup(outbox_bootstrap_servers);
	config->sink.client_id = psprintf("outbox-%s", database);
	config->sink.window_events = outbox_window_events;
	config->sink.window_size_kb = outbox_window_size_kb;
	config->sink.wake_fd = outbox_wait_pipe();

	properties = outbox_properties_parse(outbox_module_kind(),
										 outbox_kafka_properties, error);
	config->sink.properties = config->properties = properties;
	if (properties == NULL)
		ok = false;
	else if (outbox_kafka_properties_file[0] != '\0')
		ok = outbox_properties_read_file(outbox_kafka_properties_file,
										 properties, error);
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
