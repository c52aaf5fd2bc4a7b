/*-------------------------------------------------------------------------
 *
 * client_file.h
 *	  Files of properties as the broker's own clients have them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CLIENT_FILE_H
#define OUTBOX_CLIENT_FILE_H

#include "sink/properties.h"

extern bool outbox_client_file_read(const char *path,
									OutboxProperties *properties,
									char **servers, char *error);

#endif /* OUTBOX_CLIENT_FILE_H */
