/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Settings that decide what output functions write: they are the same for
 *	  all events, whatever the session that changes a table has set.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "capture/settings.h"

/* Do settings decide what its output function writes? Any may, of types that
 * we do not know. To be asked of types that json.c does not write itself. */
bool
outbox_capture_needs_settings(Oid type)
{
	char kind = get_typtype(type);

	return kind == TYPTYPE_RANGE || kind == TYPTYPE_MULTIRANGE ||
		   type == INTERVALOID ||
		   /* names of objects, and money; points and their like */
		   TypeCategory(type) == TYPCATEGORY_NUMERIC ||
		   TypeCategory(type) == TYPCATEGORY_GEOMETRIC ||
		   (kind == TYPTYPE_BASE && type >= FirstNormalObjectId);
}

/* Has types whose output depends on settings write the same in each session,
 * until outbox_capture_unpin_settings(), or the error that ends it. */
int
outbox_capture_pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"DateStyle", "ISO, MDY"}, {"IntervalStyle", "postgres"},
		{"TimeZone", "UTC"},       {"extra_float_digits", "1"},
		{"bytea_output", "hex"},   {"lc_monetary", "C"},
		{"search_path", ""}};
	int level = NewGUCNestLevel();

	for (size_t i = 0; i < lengthof(pinned); i++)
	{
		if (strcmp(GetConfigOption(pinned[i][0], false, false),
				   pinned[i][1]) != 0)
			(void) set_config_option(pinned[i][0], pinned[i][1], PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
									 false);
	}
	return level;
}

void
outbox_capture_unpin_settings(int level)
{
	AtEOXact_GUC(true, level);
}
