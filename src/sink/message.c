/*-------------------------------------------------------------------------
 *
 * message.c
 *	  What a module says, before others see it. The client library or a broker
 *	  may repeat what it was given, and in any encoding: no message goes beyond
 *	  here with a secret in it, nor one that cannot be shown in a line of the
 *	  log, or stored as a text.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "mb/pg_wchar.h"

#include "sink/message.h"

/* What stands for a secret, and for all behind it, which is cut off */
static const char hidden[] = "[...]";

static bool
is_readable(const char *message)
{
	for (const char *c = message; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ')
			return false;
	}
	return pg_verifymbstr(message, (int) strlen(message), true);
}

/* Control characters become spaces and, if the message is not in the encoding
 * of the database, bytes beyond ASCII become question marks. */
void
outbox_message_make_readable(char *message)
{
	bool is_valid = pg_verifymbstr(message, (int) strlen(message), true);

	for (char *c = message; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ')
			*c = ' ';
		else if (IS_HIGHBIT_SET(*c) && !is_valid)
			*c = '?';
	}
}

/*
 * A message as others may see it: itself or, if it has a secret or cannot be
 * read, what is made of it in buffer, of OUTBOX_SINK_ERROR_MAX bytes.
 */
const char *
outbox_message_harmless(const OutboxProperties *properties,
						const char *message, char *buffer)
{
	const char *secret = outbox_properties_find_secret(properties, message);

	if (secret != NULL)
		snprintf(buffer, OUTBOX_SINK_ERROR_MAX, "%.*s%s",
				 (int) Min(secret - message,
						   OUTBOX_SINK_ERROR_MAX - (int) sizeof(hidden)),
				 message, hidden);
	else if (is_readable(message))
		return message;
	else
		strlcpy(buffer, message, OUTBOX_SINK_ERROR_MAX);
	outbox_message_make_readable(buffer);
	return buffer;
}
