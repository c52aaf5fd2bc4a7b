/*-------------------------------------------------------------------------
 *
 * token.c
 *	  Tokens to log in with (OAUTHBEARER): what is told of the server that gives
 *	  them, and of brokers that refuse one.
 *
 * The library repeats what that server answers, whatever it is: it may be very
 * long, and hold what we have sent, or a token. So it is made harmless here.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <ctype.h>

/* words with more letters may be secrets, if they are not like those of a
 * language, or of an address */
#define WORD_MAX 16

/* How long is the word that begins there, with whatever encodings have? */
static size_t
word_length(const char *text)
{
	size_t length = 0;

	while (isalnum((unsigned char) text[length]) ||
		   (text[length] != '\0' && strchr("+/_-.=~%", text[length]) != NULL))
		length++;
	return length;
}

/* May the word be a token, or something else that is encoded? What follows
 * the name of a scheme is one, in a header that is repeated. */
static bool
may_be_secret(const char *text, const char *word, size_t length)
{
	static const char *const schemes[] = {"Basic ", "Bearer "};

	for (size_t i = 0; i < lengthof(schemes); i++)
	{
		size_t before = strlen(schemes[i]);

		if ((size_t) (word - text) >= before &&
			pg_strncasecmp(word - before, schemes[i], before) == 0)
			return true;
	}
	if (length <= WORD_MAX)
		return false;
	if (memchr(word, '.', length) != NULL)
		return strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789.-/") <
			   length;
	return strspn(word, "abcdefghijklmnopqrstuvwxyz_-") < length;
}

/* Are log lines with that about tokens? */
bool
outbox_kafka_is_of_tokens(const char *facility)
{
	return strcmp(facility, "OIDC") == 0 || strcmp(facility, "JWT") == 0;
}

/*
 * Copies what a token server may have said into size bytes: what is no
 * printable ASCII becomes a blank, and words that may be a token, a password or
 * their encodings are left out.
 */
void
outbox_kafka_copy_harmless(char *to, size_t size, const char *from)
{
	static const char left_out[] = "[...]";
	const char *text = from;
	size_t at = 0;

	while (*from != '\0' && at + sizeof(left_out) <= size)
	{
		size_t length = word_length(from);

		if (length > 0 && may_be_secret(text, from, length))
		{
			memcpy(to + at, left_out, sizeof(left_out) - 1);
			at += sizeof(left_out) - 1;
			from += length;
			continue;
		}
		length = Min(Max(length, 1), size - 1 - at);
		for (; length > 0; length--, from++)
			to[at++] = isprint((unsigned char) *from) ? *from : ' ';
	}
	to[at] = '\0';
}

/*
 * Is an error about a token? Then the message is replaced by a harmless one in
 * client->message. OUTBOX_TROUBLE_AWAY if it is about something else.
 */
OutboxTrouble
outbox_kafka_token_trouble(OutboxKafkaClient *client, const char **message)
{
	static const char *const none[] = {
		"Failed to acquire SASL OAUTHBEARER token: ",
		"no token available; last error: ",
	};

	for (size_t i = 0; i < lengthof(none); i++)
	{
		const char *said = strstr(*message, none[i]);

		if (said == NULL)
			continue;
		outbox_kafka_copy_harmless(client->message, sizeof(client->message),
								   said + strlen(none[i]));
		*message = client->message;
		return OUTBOX_TROUBLE_TOKEN;
	}
	return strstr(*message, "invalid_token") ? OUTBOX_TROUBLE_BAD_TOKEN
											 : OUTBOX_TROUBLE_AWAY;
}
