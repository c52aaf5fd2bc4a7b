/*-------------------------------------------------------------------------
 *
 * outage.c
 *	  Tells an outage, as a state of the relay, when it begins, when its
 *	  reason changes, and when it is over.
 *
 * The sink goes on trying by itself. It may tell of a lost connection once
 * only, perhaps while there was nothing to send, and it tells nothing while
 * brokers refuse for now or keep silent; so silence counts, too.
 *
 * It tells of each broker that cannot be reached, and tells it again, before
 * or after it tells that none can be. In the log, the reason is part of the
 * line with which the outage begins.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "utils/timestamp.h"

#include "publish/outage.h"
#include "shared/relay_state.h"
#include "sink/client_log.h"
#include "sink/module.h"

/* how long brokers may be silent until it is called an outage */
#define SILENCE_MS   5000

/* how long the reason is waited for, once no broker can be reached */
#define REASON_MS    200

/* delays while our credentials are refused */
#define LOGIN_MIN_MS 1000
#define LOGIN_MAX_MS 60000

/* answers so soon after a lost connection do not end an outage */
#define ECHO_MS      1000

static const OutboxRelayState states[OUTBOX_TROUBLES] = {
	[OUTBOX_TROUBLE_AWAY] = OUTBOX_RELAY_UNAVAILABLE,
	[OUTBOX_TROUBLE_UNTRUSTED] = OUTBOX_RELAY_UNTRUSTED,
	[OUTBOX_TROUBLE_HOST] = OUTBOX_RELAY_UNTRUSTED,
	[OUTBOX_TROUBLE_EXPIRED] = OUTBOX_RELAY_UNTRUSTED,
	[OUTBOX_TROUBLE_TLS] = OUTBOX_RELAY_UNAVAILABLE,
	[OUTBOX_TROUBLE_LISTENER] = OUTBOX_RELAY_UNAVAILABLE,
	[OUTBOX_TROUBLE_CERTIFICATE] = OUTBOX_RELAY_UNAUTHENTICATED,
	[OUTBOX_TROUBLE_ANONYMOUS] = OUTBOX_RELAY_UNAUTHENTICATED,
	[OUTBOX_TROUBLE_LOGIN] = OUTBOX_RELAY_UNAUTHENTICATED,
	[OUTBOX_TROUBLE_MECHANISM] = OUTBOX_RELAY_UNAUTHENTICATED,
	[OUTBOX_TROUBLE_NO_LOGIN] = OUTBOX_RELAY_UNAUTHENTICATED,
	[OUTBOX_TROUBLE_TOKEN] = OUTBOX_RELAY_UNAUTHENTICATED,
	[OUTBOX_TROUBLE_BAD_TOKEN] = OUTBOX_RELAY_UNAUTHENTICATED,
};

static void
begin(OutboxStream *stream, const char *reason)
{
	const OutboxTroubleWords *words =
		&stream->sender.api->words[stream->outage.trouble];
	char *why = psprintf("%s: %s", words->what, reason);

	if (stream->outage.since == 0)
		stream->outage.since = GetCurrentTimestamp();
	stream->outage.complaint_untold = false;
	outbox_relay_state_error(reason);
	if (!outbox_relay_state_set(states[stream->outage.trouble], why,
								words->hint))
		outbox_relay_state_still(why, words->hint);
	pfree(why);
}

static void
complain(OutboxStream *stream, OutboxTrouble trouble, const char *reason)
{
	stream->outage.trouble = trouble;
	strlcpy(stream->outage.complaint, reason,
			sizeof(stream->outage.complaint));
}

/* Our credentials are refused: slowly, so that no account gets locked. */
static void
retry_login(OutboxStream *stream)
{
	int delay_ms = LOGIN_MIN_MS << Min(stream->outage.login_failures, 16);

	if (stream->state != OUTBOX_STREAM_OPEN)
		return;
	stream->outage.login_failures++;
	outbox_stream_end(stream);
	stream->open_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  Min(delay_ms, LOGIN_MAX_MS));
}

/* No broker can be reached, or they refuse our credentials. */
void
outbox_outage_unreachable(OutboxStream *stream, OutboxFailure failure,
						  OutboxTrouble trouble, const char *reason)
{
	if (failure == OUTBOX_FAILURE_LOGIN)
	{
		bool news =
			stream->outage.since == 0 || stream->outage.trouble != trouble;

		complain(stream, trouble, reason);
		retry_login(stream);
		if (news)
			begin(stream, reason);
	}
	/* a connection lost while there is nothing to send is no outage */
	else if (outbox_stream_is_pending(stream) &&
			 stream->outage.unreachable_since == 0)
		stream->outage.unreachable_since = GetCurrentTimestamp();
}

/*
 * A broker cannot be reached. If that is an outage, it is told with it; if
 * not, because others answer, it is told then.
 */
void
outbox_outage_lost(OutboxStream *stream, OutboxTrouble trouble,
				   const char *reason)
{
	/* in an outage that has been told: only if that explains it better */
	if (stream->outage.since != 0 && stream->outage.trouble != trouble)
	{
		if (trouble == OUTBOX_TROUBLE_AWAY)
			return;
		complain(stream, trouble, reason);
		begin(stream, reason);
		return;
	}
	if (stream->outage.since == 0 && outbox_stream_is_pending(stream) &&
		!stream->sender.api->is_same_message(stream->outage.complaint, reason))
		stream->outage.complaint_untold = true;
	complain(stream, trouble, reason);
	outbox_client_log(LOG_INFO, reason);
}

/* Keeps what the sink has said last, in case no answer comes. */
void
outbox_outage_complaint(OutboxStream *stream, int log_level,
						const char *message)
{
	if (log_level <= LOG_WARNING &&
		stream->outage.trouble == OUTBOX_TROUBLE_AWAY)
		complain(stream, OUTBOX_TROUBLE_AWAY, message);
}

/*
 * How long until missing answers are called an outage; -1 if none are
 * missing, or it is called one already.
 */
long
outbox_outage_timeout_ms(const OutboxStream *stream)
{
	TimestampTz since = stream->outage.last_result_at;
	int patience_ms = SILENCE_MS;

	if (!outbox_stream_is_pending(stream) || stream->outage.since != 0)
		return -1;
	if (stream->outage.unreachable_since != 0)
	{
		since = stream->outage.unreachable_since;
		patience_ms = stream->outage.complaint[0] ? 0 : REASON_MS;
	}
	return TimestampDifferenceMilliseconds(
		GetCurrentTimestamp(),
		TimestampTzPlusMilliseconds(since, patience_ms));
}

/* Answers may have been missing for too long. */
void
outbox_outage_check(OutboxStream *stream)
{
	if (outbox_outage_timeout_ms(stream) == 0)
		begin(stream, stream->outage.complaint[0] ? stream->outage.complaint
												  : "no broker answers");
}

/* An event has been acknowledged. */
void
outbox_outage_over(OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since =
		Max(stream->outage.since, stream->outage.unreachable_since);
	char why[NAMEDATALEN + 64];

	stream->outage.last_result_at = now;
	/* it may be an answer from before, that was still under way */
	if (outbox_stream_is_pending(stream) &&
		!TimestampDifferenceExceeds(since, now, ECHO_MS))
		return;
	if (stream->outage.complaint_untold)
		outbox_client_log(LOG_WARNING, stream->outage.complaint);
	stream->outage.complaint_untold = false;
	stream->outage.complaint[0] = '\0';
	stream->outage.trouble = OUTBOX_TROUBLE_AWAY;
	if (since != 0)
		stream->outage.back_at = now;
	stream->outage.unreachable_since = 0;
	if (stream->outage.since == 0)
		return;
	snprintf(why, sizeof(why), "%s is available again after %ld s",
			 outbox_module_kind()->name,
			 (long) ((now - stream->outage.since) / USECS_PER_SEC));
	outbox_relay_state_set(OUTBOX_RELAY_PUBLISHING, why, NULL);
	stream->outage.since = 0;
}
