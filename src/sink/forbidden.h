/*-------------------------------------------------------------------------
 *
 * forbidden.h
 *	  Properties of the client library that may not be set, or not be shown.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_FORBIDDEN_H
#define OUTBOX_FORBIDDEN_H

#define OUTBOX_PROPERTY_ERROR_MAX 512

extern bool outbox_property_is_forbidden(const char *name, const char *value,
										 char *error);
extern bool outbox_property_is_secret(const char *name, const char *value);

#endif /* OUTBOX_FORBIDDEN_H */
