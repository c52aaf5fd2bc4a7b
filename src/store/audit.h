/*-------------------------------------------------------------------------
 *
 * audit.h
 *	  Old entries of outbox.audit are removed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_AUDIT_H
#define OUTBOX_AUDIT_H

#include "shared/task.h"

extern OutboxTask outbox_audit_task;

#endif /* OUTBOX_AUDIT_H */
