/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Columns of the one row that a statement has found, from 1 on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ROW_H
#define OUTBOX_ROW_H

#include "outbox.h"

extern Datum outbox_row_column(int number, bool *is_null);
extern int outbox_row_integer(int number);
extern double outbox_row_real(int number);
extern bool outbox_row_boolean(int number);
extern const char *outbox_row_string(int number);

#endif /* OUTBOX_ROW_H */
