/*-------------------------------------------------------------------------
 *
 * emit_now.h
 *	  An event that is published although its transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EMIT_NOW_H
#define OUTBOX_EMIT_NOW_H

#include "outbox.h"

extern void outbox_emit_now_commit(Datum *values, bool *nulls, bool delayed);

#endif /* OUTBOX_EMIT_NOW_H */
