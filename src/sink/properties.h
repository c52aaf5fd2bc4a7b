/*-------------------------------------------------------------------------
 *
 * properties.h
 *	  Lists of properties for the broker's client library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PROPERTIES_H
#define OUTBOX_PROPERTIES_H

#include "sink/kind.h"

typedef struct OutboxProperty
{
	char *name;
	char *value;
	bool secret; /* the value must not be shown */
} OutboxProperty;

typedef struct OutboxProperties
{
	const OutboxSinkKind *kind;
	int count;
	int capacity;
	OutboxProperty *items;
} OutboxProperties;

extern OutboxProperties *outbox_properties_new(const OutboxSinkKind *kind);
extern void outbox_properties_append(OutboxProperties *properties,
									 const char *name, const char *value);
extern bool outbox_properties_add(OutboxProperties *properties,
								  const char *name, const char *value,
								  char *error);
extern OutboxProperties *outbox_properties_parse(const OutboxSinkKind *kind,
												 const char *text,
												 char *error);
extern bool outbox_properties_read_file(const char *path,
										OutboxProperties *properties,
										char *error);
extern bool outbox_properties_equal(const OutboxProperties *a,
									const OutboxProperties *b);
extern const char *
outbox_properties_find_secret(const OutboxProperties *properties,
							  const char *text);
extern void outbox_properties_wipe(OutboxProperties *properties);
extern void outbox_properties_free(OutboxProperties *properties);

#endif /* OUTBOX_PROPERTIES_H */
