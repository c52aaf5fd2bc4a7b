/*-------------------------------------------------------------------------
 *
 * client_log.h
 *	  Log lines of which there may be many.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CLIENT_LOG_H
#define OUTBOX_CLIENT_LOG_H

#include "outbox.h"

extern void outbox_client_log(int syslog_level, const char *message);
extern void outbox_client_log_init(const char *relay_label);
extern void outbox_client_log_event(uint64 id, bool dead, const char *error);

#endif /* OUTBOX_CLIENT_LOG_H */
