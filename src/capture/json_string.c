/*-------------------------------------------------------------------------
 *
 * json_string.c
 *	  Strings of JSON. Most of what a row has is in them, and next to nothing
 *	  of that has to be escaped: so eight bytes are looked at in one.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "capture/json.h"

/* one in each byte of a word */
#define EACH_BYTE UINT64CONST(0x0101010101010101)

/* Has one of eight bytes to be escaped in a string of JSON? The highest bit of
 * a byte is set by the first one that is zero, or less. */
static bool
has_special(uint64 bytes)
{
	uint64 quote = bytes ^ (EACH_BYTE * '"');
	uint64 backslash = bytes ^ (EACH_BYTE * '\\');
	uint64 control = (bytes - EACH_BYTE * ' ') & ~bytes;

	quote = (quote - EACH_BYTE) & ~quote;
	backslash = (backslash - EACH_BYTE) & ~backslash;
	return ((control | quote | backslash) & (EACH_BYTE * 0x80)) != 0;
}

/* How many bytes there are before the first one that has to be escaped */
static int
plain_bytes(const char *data, int bytes)
{
	int count = 0;

	for (uint64 word; bytes - count >= (int) sizeof(word);
		 count += (int) sizeof(word))
	{
		memcpy(&word, data + count, sizeof(word));
		if (has_special(word))
			break;
	}
	while (count < bytes && (unsigned char) data[count] >= ' ' &&
		   data[count] != '"' && data[count] != '\\')
		count++;
	return count;
}

static void
append_escape(StringInfo out, char c)
{
	static const char short_names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	static const char hex[] = "0123456789abcdef";
	char escape[] = {'\\', 'u', '0', '0', hex[(c >> 4) & 15], hex[c & 15]};

	for (int i = 0; short_names[i] != '\0'; i += 2)
	{
		if (short_names[i] == c)
		{
			escape[1] = short_names[i + 1];
			appendBinaryStringInfo(out, escape, 2);
			return;
		}
	}
	appendBinaryStringInfo(out, escape, sizeof(escape));
}

/* Writes a string of JSON. */
void
outbox_json_string(StringInfo out, const char *data, int bytes)
{
	int plain;

	appendStringInfoCharMacro(out, '"');
	while ((plain = plain_bytes(data, bytes)) < bytes)
	{
		appendBinaryStringInfo(out, data, plain);
		append_escape(out, data[plain]);
		data += plain + 1;
		bytes -= plain + 1;
	}
	appendBinaryStringInfo(out, data, bytes);
	appendStringInfoCharMacro(out, '"');
}
