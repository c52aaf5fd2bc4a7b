/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What the library says of itself and of brokers, in errors that belong to
 *	  no record and in log lines, and what it means.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <syslog.h>

/* The client ends; told as the library's log line would be. */
void
outbox_kafka_report_fatal(OutboxKafkaClient *client, const char *reason,
						  OutboxKafkaReport *report)
{
	snprintf(client->message, sizeof(client->message), "FATAL: %s", reason);
	report->news = OUTBOX_KAFKA_FATAL;
	report->message = client->message;
}

/* Whose fault an error is, by what it is about */
static OutboxFailure
blame(OutboxTrouble trouble, rd_kafka_resp_err_t code)
{
	switch (trouble)
	{
		case OUTBOX_TROUBLE_CERTIFICATE:
		case OUTBOX_TROUBLE_ANONYMOUS:
			return OUTBOX_FAILURE_LOGIN;
		case OUTBOX_TROUBLE_AWAY:
			/* it connects again by itself: see tls.c */
			if (outbox_kafka_failure(code) == OUTBOX_FAILURE_LOGIN)
				return OUTBOX_FAILURE_CLUSTER;
			return outbox_kafka_failure(code);
		case OUTBOX_TROUBLE_TOKEN:
			/* the library goes on asking for one, and the last one may be
			 * good for some time */
			return OUTBOX_FAILURE_CLUSTER;
		default:
			return outbox_kafka_failure(code);
	}
}

/* What the current event, an error, means */
void
outbox_kafka_report_error(OutboxKafkaClient *client, OutboxKafkaReport *report)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(client->event);

	memset(report, 0, sizeof(*report));
	report->message = rd_kafka_event_error_string(client->event);
	report->trouble = outbox_kafka_trouble(client, code, &report->message);
	report->failure = blame(report->trouble, code);
	if (code == RD_KAFKA_RESP_ERR__FATAL)
	{
		char reason[OUTBOX_SINK_ERROR_MAX - 10];

		rd_kafka_fatal_error(client->rk, reason, sizeof(reason));
		outbox_kafka_report_fatal(client, reason, report);
	}
	else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
			 report->failure == OUTBOX_FAILURE_LOGIN)
		report->news = OUTBOX_KAFKA_UNREACHABLE;
	else if (report->failure == OUTBOX_FAILURE_CLUSTER)
		report->news = OUTBOX_KAFKA_LOST;
	else
	{
		report->news = OUTBOX_KAFKA_LOG;
		report->log_level = LOG_WARNING;
	}
}

/* What the current event, a log line, means */
void
outbox_kafka_report_log(OutboxKafkaClient *client, OutboxKafkaReport *report)
{
	const char *facility;
	const char *text;
	int level;

	memset(report, 0, sizeof(*report));
	rd_kafka_event_log(client->event, &facility, &text, &level);
	outbox_kafka_tls_log(client, facility, text);
	report->message = client->message;
	report->trouble = outbox_kafka_log_trouble(client, facility, text, level);
	if (report->trouble != OUTBOX_TROUBLE_AWAY)
	{
		report->news = OUTBOX_KAFKA_LOST;
		report->failure = OUTBOX_FAILURE_CLUSTER;
		return;
	}
	report->news = OUTBOX_KAFKA_LOG;
	/* what the library thinks of our settings is known here; and what fails
	 * comes as an error, too */
	if (strcmp(facility, "CONFWARN") == 0 || strcmp(facility, "FAIL") == 0 ||
		strcmp(facility, "FATAL") == 0 || strncmp(facility, "SSL", 3) == 0)
		level = LOG_DEBUG;
	report->log_level = level;
	if (outbox_kafka_is_of_tokens(facility))
		outbox_kafka_copy_harmless(client->message, sizeof(client->message),
								   text);
	else
		snprintf(client->message, sizeof(client->message), "%s: %s", facility,
				 text);
}

/* Are they the same, but for the time that the library adds in parentheses? */
bool
outbox_kafka_is_same_message(const char *a, const char *b)
{
	size_t len = strcspn(a, "(");

	return len == strcspn(b, "(") && strncmp(a, b, len) == 0;
}
