/*-------------------------------------------------------------------------
 *
 * kind.h
 *	  A kind of broker, as far as it must be known where its module is not
 *	  loaded: settings and topics are checked in every process, and the client
 *	  library is in the relay's only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_KIND_H
#define OUTBOX_KIND_H

#include "outbox.h"

#define OUTBOX_PROPERTY_ERROR_MAX 512

/* no kind of broker has topics with longer names, in bytes */
#define OUTBOX_TOPIC_MAX          255

struct OutboxProperties;

typedef struct OutboxSinkKind
{
	const char *name;    /* as users know it */
	const char *client;  /* its client library */
	const char *library; /* the module, for load_external_function() */

	/* for hints: names of settings */
	const char *settings;     /* all that tell how it is reached */
	const char *secrets_file; /* the one whose file may hold secrets */
	const char *size_limit;   /* what else limits the size of an event */

	/* bytes of a topic's name, at most */
	int topic_max;

	/* raises an error if there cannot be a topic of that name */
	void (*check_topic)(const char *topic, int bytes);

	/*
	 * Must a property of the client library not be set, or not to this value,
	 * since it would break a promise, load code or run a command? Then there
	 * is a message in error (of OUTBOX_PROPERTY_ERROR_MAX bytes), without a
	 * secret in it. Raises no error.
	 */
	bool (*property_is_forbidden)(const char *name, const char *value,
								  char *error);

	/* must the value not be shown to those who can read settings? */
	bool (*property_is_secret)(const char *name, const char *value);

	/* is it the path of a file or a directory that the library reads? */
	bool (*property_is_file)(const char *name, const char *value);

	/*
	 * The properties of a file that other clients of this kind have, too: adds
	 * what they mean for the client library to properties, and makes servers
	 * the addresses, NULL if there are none. False and a message in error, as
	 * above, if one of them means nothing there, or must not be set.
	 */
	bool (*take_client_file)(const struct OutboxProperties *file,
							 struct OutboxProperties *properties,
							 char **servers, char *error);
} OutboxSinkKind;

#endif /* OUTBOX_KIND_H */
