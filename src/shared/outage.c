/*-------------------------------------------------------------------------
 *
 * outage.c
 *	  Tells an outage, as a state of this process, when it begins, when its
 *	  reason changes, and when it is over: for the relay's stream, and for a
 *	  subscriber.
 *
 * The module goes on trying by itself. It may tell of a lost connection once
 * only, perhaps while there was nothing to send, and it tells nothing while
 * brokers refuse for now or keep silent; so silence counts, too, while answers
 * are expected (pending).
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

#include "shared/outage.h"
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

/* words, is_same_message: the module's; working: the state without an outage */
void
outbox_outage_init(OutboxOutage *outage, const OutboxTroubleWords *words,
				   bool (*is_same_message)(const char *a, const char *b),
				   OutboxRelayState working)
{
	memset(outage, 0, sizeof(*outage));
	outage->words = words;
	outage->is_same_message = is_same_message;
	outage->working = working;
}

static void
begin(OutboxOutage *outage, const char *reason)
{
	const OutboxTroubleWords *words = &outage->words[outage->trouble];
	char *why = psprintf("%s: %s", words->what, reason);

	if (outage->since == 0)
		outage->since = GetCurrentTimestamp();
	outage->complaint_untold = false;
	outbox_relay_state_error(reason);
	if (!outbox_relay_state_set(states[outage->trouble], why, words->hint))
		outbox_relay_state_still(why, words->hint);
	pfree(why);
}

static void
complain(OutboxOutage *outage, OutboxTrouble trouble, const char *reason)
{
	outage->trouble = trouble;
	strlcpy(outage->complaint, reason, sizeof(outage->complaint));
}

/* Our credentials are refused. */
void
outbox_outage_refused(OutboxOutage *outage, OutboxTrouble trouble,
					  const char *reason)
{
	bool news = (outage->since == 0 || outage->trouble != trouble);

	complain(outage, trouble, reason);
	if (news)
		begin(outage, reason);
}

/* They are tried again slowly, so that no account gets locked: how long until
 * that, each time it is asked. */
long
outbox_outage_login_delay_ms(OutboxOutage *outage)
{
	long delay_ms = (long) LOGIN_MIN_MS << Min(outage->login_failures, 16);

	outage->login_failures++;
	return Min(delay_ms, LOGIN_MAX_MS);
}

/* No broker can be reached. */
void
outbox_outage_unreachable(OutboxOutage *outage, bool pending)
{
	/* a connection lost while there is nothing to send is no outage */
	if (pending && outage->unreachable_since == 0)
		outage->unreachable_since = GetCurrentTimestamp();
}

/*
 * A broker cannot be reached. If that is an outage, it is told with it; if
 * not, because others answer, it is told then.
 */
void
outbox_outage_lost(OutboxOutage *outage, bool pending, OutboxTrouble trouble,
				   const char *reason)
{
	/* in an outage that has been told: only if that explains it better */
	if (outage->since != 0 && outage->trouble != trouble)
	{
		if (trouble == OUTBOX_TROUBLE_AWAY)
			return;
		complain(outage, trouble, reason);
		begin(outage, reason);
		return;
	}
	if (outage->since == 0 && pending &&
		!outage->is_same_message(outage->complaint, reason))
		outage->complaint_untold = true;
	complain(outage, trouble, reason);
	outbox_client_log(LOG_INFO, reason);
}

/* Keeps what the sink has said last, in case no answer comes. */
void
outbox_outage_complaint(OutboxOutage *outage, int log_level,
						const char *message)
{
	if (log_level <= LOG_WARNING && outage->trouble == OUTBOX_TROUBLE_AWAY)
		complain(outage, OUTBOX_TROUBLE_AWAY, message);
}

/*
 * How long until missing answers are called an outage; -1 if none are
 * missing, or it is called one already.
 */
long
outbox_outage_timeout_ms(const OutboxOutage *outage, bool pending)
{
	TimestampTz since = outage->last_result_at;
	int patience_ms = SILENCE_MS;

	if (!pending || outage->since != 0)
		return -1;
	if (outage->unreachable_since != 0)
	{
		since = outage->unreachable_since;
		patience_ms = outage->complaint[0] ? 0 : REASON_MS;
	}
	return TimestampDifferenceMilliseconds(
		GetCurrentTimestamp(),
		TimestampTzPlusMilliseconds(since, patience_ms));
}

/* No broker answers. */
void
outbox_outage_silent(OutboxOutage *outage)
{
	if (outage->since == 0)
		begin(outage,
			  outage->complaint[0] ? outage->complaint : "no broker answers");
}

/* Answers may have been missing for too long. */
void
outbox_outage_check(OutboxOutage *outage, bool pending)
{
	if (outbox_outage_timeout_ms(outage, pending) == 0)
		outbox_outage_silent(outage);
}

/* There has been an answer: an event has been acknowledged, for instance. */
void
outbox_outage_over(OutboxOutage *outage, bool pending)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since = Max(outage->since, outage->unreachable_since);
	char why[NAMEDATALEN + 64];

	outage->last_result_at = now;
	/* it may be an answer from before, that was still under way */
	if (pending && !TimestampDifferenceExceeds(since, now, ECHO_MS))
		return;
	if (outage->complaint_untold)
		outbox_client_log(LOG_WARNING, outage->complaint);
	outage->complaint_untold = false;
	outage->complaint[0] = '\0';
	outage->trouble = OUTBOX_TROUBLE_AWAY;
	if (since != 0)
		outage->back_at = now;
	outage->unreachable_since = 0;
	if (outage->since == 0)
		return;
	snprintf(why, sizeof(why), "%s is available again after %ld s",
			 outbox_module_kind()->name,
			 (long) ((now - outage->since) / USECS_PER_SEC));
	outbox_relay_state_set(outage->working, why, NULL);
	outage->since = 0;
}

/* Another sink or source is opened: nothing is known of its brokers, but that
 * an outage goes on. */
void
outbox_outage_reopened(OutboxOutage *outage)
{
	outage->complaint[0] = '\0';
	outage->complaint_untold = false;
	if (outage->since != 0)
		return;
	outage->trouble = OUTBOX_TROUBLE_AWAY;
	outage->unreachable_since = 0;
}
