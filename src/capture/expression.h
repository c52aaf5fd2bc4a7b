/*-------------------------------------------------------------------------
 *
 * expression.h
 *	  Expressions over the columns of a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_EXPRESSION_H
#define OUTBOX_CAPTURE_EXPRESSION_H

#include "outbox.h"

#include "executor/tuptable.h"
#include "nodes/nodes.h"

typedef struct OutboxCaptureExpression OutboxCaptureExpression;

extern OutboxCaptureExpression *outbox_capture_expression(Node *expr);
extern bool
outbox_capture_expression_is_users(const OutboxCaptureExpression *expression);
extern Datum outbox_capture_evaluate(OutboxCaptureExpression *expression,
									 TupleTableSlot *row, bool *is_null);

#endif /* OUTBOX_CAPTURE_EXPRESSION_H */
