/*-------------------------------------------------------------------------
 *
 * utf8.h
 *	  Text as it is sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_UTF8_H
#define OUTBOX_UTF8_H

#include "outbox.h"

extern const char *outbox_utf8(const char *what, const char *data, int *bytes);

#endif /* OUTBOX_UTF8_H */
