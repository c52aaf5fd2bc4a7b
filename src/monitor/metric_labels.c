/*-------------------------------------------------------------------------
 *
 * metric_labels.c
 *	  outbox.metric_labels(): the labels of a metric, as Prometheus reads
 *	  them. There are hundreds of metrics, which are read every few seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(outbox_metric_labels);

/* A value in quotes */
static void
append_value(StringInfo out, const JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("labels of a metric must be strings")));
	appendStringInfoCharMacro(out, '"');
	for (int i = 0; i < value->val.string.len; i++)
	{
		char c = value->val.string.val[i];

		if (c == '\\' || c == '"' || c == '\n')
			appendStringInfoCharMacro(out, '\\');
		appendStringInfoCharMacro(out, c == '\n' ? 'n' : c);
	}
	appendStringInfoCharMacro(out, '"');
}

/* outbox.metric_labels(labels jsonb) RETURNS text: name="value",... */
Datum
outbox_metric_labels(PG_FUNCTION_ARGS)
{
	Jsonb *labels = PG_GETARG_JSONB_P(0);
	JsonbIterator *it = JsonbIteratorInit(&labels->root);
	JsonbIteratorToken token;
	JsonbValue value;
	StringInfoData out;

	initStringInfo(&out);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			if (out.len > 0)
				appendStringInfoCharMacro(&out, ',');
			appendBinaryStringInfo(&out, value.val.string.val,
								   value.val.string.len);
			appendStringInfoCharMacro(&out, '=');
		}
		else if (token == WJB_VALUE || token == WJB_ELEM)
			append_value(&out, &value);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
