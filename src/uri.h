/*-------------------------------------------------------------------------
 *
 * uri.h
 *	  What a URI reference looks like.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_URI_H
#define OUTBOX_URI_H

#include "outbox.h"

extern bool outbox_uri_is_reference(const char *text, int bytes);
extern char *outbox_uri_from_name(const char *name);

#endif /* OUTBOX_URI_H */
