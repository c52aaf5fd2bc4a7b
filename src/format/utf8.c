/*-------------------------------------------------------------------------
 *
 * utf8.c
 *	  Text as it is sent, which is in UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "mb/pg_wchar.h"

#include "format/utf8.h"
#include "guc.h"

/* Tells an error what was being converted. */
static void
in_conversion(void *arg)
{
	int code = geterrcode();

	if (code == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE ||
		code == ERRCODE_UNTRANSLATABLE_CHARACTER)
		errhint("%s gets text in UTF-8. Send other bytes as a payload of "
				"type bytea.",
				outbox_guc_sink_kind()->name);
	errcontext("converting the %s of an event to UTF-8", (const char *) arg);
}

/*
 * Text in the database's encoding to UTF-8, palloc'd; not a copy if it is
 * UTF-8. Raises 22021 or 22P05 if there is no such text, which says what it is
 * part of. Keys and headers are stored as they are, and are converted when
 * they are emitted only to find that out.
 */
const char *
outbox_utf8(const char *what, const char *data, int *bytes)
{
	ErrorContextCallback callback = {.previous = error_context_stack,
									 .callback = in_conversion,
									 .arg = unconstify(char *, what)};
	const char *utf8;

	if (GetDatabaseEncoding() == PG_UTF8)
		return data;
	error_context_stack = &callback;
	utf8 = pg_server_to_any(data, *bytes, PG_UTF8);
	error_context_stack = callback.previous;
	if (utf8 != data)
		*bytes = (int) strlen(utf8);
	return utf8;
}
