/*-------------------------------------------------------------------------
 *
 * client_log.h
 *	  Log lines of the client library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CLIENT_LOG_H
#define OUTBOX_CLIENT_LOG_H

#include "outbox.h"

extern void outbox_client_log(int syslog_level, const char *message);

#endif /* OUTBOX_CLIENT_LOG_H */
