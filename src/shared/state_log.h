/*-------------------------------------------------------------------------
 *
 * state_log.h
 *	  A relay's state in the log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STATE_LOG_H
#define OUTBOX_STATE_LOG_H

#include "outbox.h"

extern void outbox_state_log(const char *state, bool is_new,
							 const char *reason, const char *hint);
extern void outbox_state_log_still(const char *state, const char *reason,
								   const char *hint);
extern bool outbox_state_log_is_late(void);

#endif /* OUTBOX_STATE_LOG_H */
