/*-------------------------------------------------------------------------
 *
 * property_files.h
 *	  The files that properties of the client library name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PROPERTY_FILES_H
#define OUTBOX_PROPERTY_FILES_H

#include "sink/properties.h"

extern bool outbox_property_files_stamp(const OutboxProperties *properties,
										uint64 *stamp, char *error);

#endif /* OUTBOX_PROPERTY_FILES_H */
