/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Columns of the one row that a statement has found, from 1 on, while SPI
 *	  has its result: of tables whose rows say what a process is to do, and
 *	  leave open (null) what the settings say.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "executor/spi.h"

#include "store/row.h"
#include "store/statement.h"

Datum
outbox_row_column(int number, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number,
						 is_null);
}

/* -1 for null */
int
outbox_row_integer(int number)
{
	bool is_null;
	Datum value = outbox_row_column(number, &is_null);

	return is_null ? -1 : DatumGetInt32(value);
}

/* -1 for null */
double
outbox_row_real(int number)
{
	bool is_null;
	Datum value = outbox_row_column(number, &is_null);

	return is_null ? -1 : DatumGetFloat8(value);
}

/* of a column that is not null */
bool
outbox_row_boolean(int number)
{
	bool is_null;

	return DatumGetBool(outbox_row_column(number, &is_null));
}

/* NULL for null; else palloc'd */
const char *
outbox_row_string(int number)
{
	return outbox_store_string(0, number);
}
