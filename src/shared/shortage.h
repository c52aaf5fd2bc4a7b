/*-------------------------------------------------------------------------
 *
 * shortage.h
 *	  What there is too little of for one more process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SHORTAGE_H
#define OUTBOX_SHORTAGE_H

#include "shared/shmem.h"

extern bool outbox_shortage_note(OutboxProcessKind kind,
								 OutboxShortage shortage);
extern const char *outbox_shortage_setting(OutboxProcessKind kind,
										   OutboxShortage shortage);
extern char *outbox_shortage_why_none(OutboxProcessKind kind,
									  const char *database,
									  TimestampTz *since);

#endif /* OUTBOX_SHORTAGE_H */
