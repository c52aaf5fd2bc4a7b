/*-------------------------------------------------------------------------
 *
 * tls.c
 *	  Why a connection is refused: whether we do not trust a broker's
 *	  certificate, and why not, or it refuses ours, or our login, or expects
 *	  something else.
 *
 * The library tells only that the certificate could not be verified. So it is
 * given a function that is asked about each certificate. It allows nothing that
 * OpenSSL does not; what it says why comes as a log line, right before the
 * error.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka.h"

#include <syslog.h>

#define ALERT    "SSL alert number "
#define VERIFIED " verification callback failed: "

/* How each trouble is told */
const OutboxTroubleWords outbox_kafka_words[OUTBOX_TROUBLES] = {
	[OUTBOX_TROUBLE_AWAY] = {"Kafka is unavailable", NULL},
	[OUTBOX_TROUBLE_UNTRUSTED] =
		{"We do not trust Kafka's certificate",
		 "Let ssl.ca.location name the certificate of the authority that has "
		 "signed it, and reload."},
	[OUTBOX_TROUBLE_HOST] =
		{"Kafka's certificate is of another host",
		 "Use the certificate's names in outbox.bootstrap_servers and in the "
		 "brokers' advertised.listeners."},
	[OUTBOX_TROUBLE_EXPIRED] =
		{"Kafka's certificate is not valid now",
		 "Renew the brokers' certificate, or set this machine's clock."},
	[OUTBOX_TROUBLE_TLS] =
		{"Kafka and we do not agree about TLS",
		 "Compare security.protocol, and the properties that begin with ssl, "
		 "with the brokers' listener."},
	[OUTBOX_TROUBLE_LISTENER] =
		{"Kafka hangs up on us",
		 "If Kafka is up, compare security.protocol with its listener, which "
		 "may expect TLS or a login, or neither."},
	[OUTBOX_TROUBLE_CERTIFICATE] =
		{"Kafka refuses our certificate",
		 "Let ssl.certificate.location and ssl.key.location name one that the "
		 "brokers trust, and that is valid now, and reload."},
	[OUTBOX_TROUBLE_ANONYMOUS] =
		{"Kafka wants a certificate of ours",
		 "Let ssl.certificate.location and ssl.key.location name one that the "
		 "brokers trust, and reload."},
	[OUTBOX_TROUBLE_LOGIN] =
		{"Kafka refuses our credentials",
		 "Correct the properties that begin with sasl, and reload."},
	[OUTBOX_TROUBLE_MECHANISM] =
		{"Kafka does not know our way to log in",
		 "Let sasl.mechanism be one that the brokers support, and reload."},
	[OUTBOX_TROUBLE_NO_LOGIN] =
		{"Kafka knows no logins at this port",
		 "Let security.protocol be plaintext or ssl, or "
		 "outbox.bootstrap_servers name a port for logins, and reload."},
	[OUTBOX_TROUBLE_TOKEN] =
		{"There is no token to log in with",
		 "Look after the server at sasl.oauthbearer.token.endpoint.url, and "
		 "compare the client's properties with what it knows. It is asked "
		 "again every 10 seconds."},
	[OUTBOX_TROUBLE_BAD_TOKEN] =
		{"Kafka refuses our token",
		 "Compare its issuer, audience and signature with what the brokers "
		 "expect; a scope may be missing in sasl.oauthbearer.scope."},
};

/* What the library says, and what it is about; the first one that is found */
typedef struct Sign
{
	const char *text;
	OutboxTrouble trouble;
} Sign;

static const Sign signs[] = {
	{"SSL handshake failed: Disconnected", OUTBOX_TROUBLE_LISTENER},
	/* the same, from an older library */
	{"unexpected eof while reading", OUTBOX_TROUBLE_LISTENER},
	{"SSL routines", OUTBOX_TROUBLE_TLS},
	/* the connection was lost before there was an answer */
	{"mechanism handshake failed: Local: ", OUTBOX_TROUBLE_AWAY},
	{"Unsupported SASL mechanism", OUTBOX_TROUBLE_MECHANISM},
	{"not valid in current SASL state", OUTBOX_TROUBLE_NO_LOGIN},
};

typedef struct Reason
{
	int code; /* X509_V_ERR_... of OpenSSL */
	OutboxTrouble trouble;
	const char *text;
} Reason;

static const Reason reasons[] = {
	{2, OUTBOX_TROUBLE_UNTRUSTED, "its authority is unknown"},
	{9, OUTBOX_TROUBLE_EXPIRED, "it is not valid yet"},
	{10, OUTBOX_TROUBLE_EXPIRED, "it has expired"},
	{18, OUTBOX_TROUBLE_UNTRUSTED, "it is self-signed, and unknown"},
	{19, OUTBOX_TROUBLE_UNTRUSTED,
	 "its authority is self-signed, and unknown"},
	{20, OUTBOX_TROUBLE_UNTRUSTED, "its authority is unknown"},
	{21, OUTBOX_TROUBLE_UNTRUSTED, "its authority is unknown"},
	{23, OUTBOX_TROUBLE_UNTRUSTED, "it has been revoked"},
	{62, OUTBOX_TROUBLE_HOST, "it is of another host"},
	{64, OUTBOX_TROUBLE_HOST, "it is of another address"},
	/* all others */
	{0, OUTBOX_TROUBLE_UNTRUSTED, "it cannot be verified"},
};

/* What the library says when it does not begin at all, and what it means */
static const struct
{
	const char *text;
	const char *meaning;
} refusals[] = {
	{"key values mismatch", "the private key is not that of the certificate"},
	{"no certificate assigned",
	 "the private key is not that of the certificate"},
	{"ssl.key.location failed",
	 "what ssl.key.location names is no private key in PEM format, or "
	 "ssl.key.password does not open it"},
	{"ssl.key.pem failed", "ssl.key.pem is no private key in PEM format, or "
						   "ssl.key.password does not open it"},
	{"ssl.certificate.location failed",
	 "what ssl.certificate.location names is no certificate in PEM format"},
	{"Failed to parse ssl.keystore.location",
	 "ssl.keystore.password does not open what ssl.keystore.location names"},
	{"Error reading ssl.keystore.location",
	 "what ssl.keystore.location names is no PKCS#12 file"},
	{"ssl.ca.location failed",
	 "what ssl.ca.location names is no certificate in PEM format"},
	{"ssl.crl.location failed", "what ssl.crl.location names is no list of "
								"revoked certificates in PEM format"},
};

/* Puts what the library says into words, in error (of OUTBOX_SINK_ERROR_MAX
 * bytes). */
void
outbox_kafka_name_refusal(char *error)
{
	char said[OUTBOX_SINK_ERROR_MAX];

	strlcpy(said, error, sizeof(said));
	for (size_t i = 0; i < lengthof(refusals); i++)
	{
		if (strstr(said, refusals[i].text) == NULL)
			continue;
		snprintf(error, OUTBOX_SINK_ERROR_MAX, "%s (%s)", refusals[i].meaning,
				 said);
		return;
	}
}

/* Is called in a thread of the library. */
static int
verify(rd_kafka_t *rk, const char *broker_name, int32_t broker_id,
	   int *x509_error, int depth, const char *certificate, size_t size,
	   char *error, size_t error_size, void *opaque)
{
	const Reason *reason = reasons;

	(void) rk;
	(void) broker_name;
	(void) broker_id;
	(void) depth;
	(void) certificate;
	(void) size;
	(void) opaque;
	if (*x509_error == 0)
		return 1;
	while (reason->code != 0 && reason->code != *x509_error)
		reason++;
	if (strlen(reason->text) < error_size)
		strcpy(error, reason->text);
	return 0;
}

/* A library that was built without TLS does not take it, nor needs it. */
void
outbox_kafka_tls_init(rd_kafka_conf_t *conf)
{
	(void) rd_kafka_conf_set_ssl_cert_verify_cb(conf, verify);
}

/* Keeps what verify() has said for the error that comes; or for several: log
 * lines overtake errors in the library's queue. */
void
outbox_kafka_tls_log(OutboxKafkaClient *client, const char *facility,
					 const char *text)
{
	const char *certificate = strstr(text, "Certificate (");

	if (strcmp(facility, "SSLCERTVRFY") == 0 && certificate != NULL)
		strlcpy(client->certificate, certificate, sizeof(client->certificate));
}

/* Alerts by which a broker says that it does not take our certificate */
static bool
is_about_our_certificate(const char *message)
{
	const char *alert = strstr(message, ALERT);

	switch (alert ? atoi(alert + strlen(ALERT)) : 0)
	{
		case 42:  /* bad */
		case 43:  /* unsupported */
		case 44:  /* revoked */
		case 45:  /* expired */
		case 46:  /* unknown */
		case 48:  /* of an unknown authority */
		case 49:  /* access denied */
		case 116: /* required */
			return true;
	}
	return false;
}

/* Have we no certificate to show? */
bool
outbox_kafka_is_anonymous(rd_kafka_t *rk)
{
	static const char *const names[] = {
		"ssl.certificate.location",
		"ssl.certificate.pem",
		"ssl.keystore.location",
	};

	for (size_t i = 0; i < lengthof(names); i++)
	{
		size_t size = 0;

		if (rd_kafka_conf_get(rd_kafka_conf(rk), names[i], NULL, &size) ==
				RD_KAFKA_CONF_OK &&
			size > 1)
			return false;
	}
	return true;
}

/*
 * What a log line tells that comes in no other way, or comes as an error once
 * only: that no token is to be had, or that a broker has hung up, before it has
 * served us. It may expect TLS, or a login; one that has served us ends, or is
 * started anew. The message is in client->message then; OUTBOX_TROUBLE_AWAY:
 * nothing.
 */
OutboxTrouble
outbox_kafka_log_trouble(OutboxKafkaClient *client, const char *facility,
						 const char *text, int level)
{
	const char *thread_end = strstr(text, "]: ");

	if (thread_end != NULL)
		text = thread_end + strlen("]: ");
	if (outbox_kafka_is_of_tokens(facility) && level <= LOG_ERR)
	{
		outbox_kafka_copy_harmless(client->message, sizeof(client->message),
								   text);
		return OUTBOX_TROUBLE_TOKEN;
	}
	if (!client->served && strcmp(facility, "FAIL") == 0 &&
		strstr(text, "Disconnected") != NULL)
	{
		strlcpy(client->message, text, sizeof(client->message));
		return OUTBOX_TROUBLE_LISTENER;
	}
	return OUTBOX_TROUBLE_AWAY;
}

/* The broker's name, what is wrong with its certificate, and which it is */
static OutboxTrouble
name_certificate(OutboxKafkaClient *client, const char *message)
{
	const char *handshake = strstr(message, ": SSL handshake");
	const char *name_end = handshake ? handshake : strstr(message, ": error:");
	const char *text = strstr(client->certificate, VERIFIED);
	int certificate_bytes = text ? (int) (text - client->certificate) : 0;
	const Reason *reason = reasons;

	if (text == NULL)
		return OUTBOX_TROUBLE_UNTRUSTED;
	text += strlen(VERIFIED);
	while (reason->code != 0 && strcmp(reason->text, text) != 0)
		reason++;
	snprintf(client->message, sizeof(client->message), "%.*s: %.*s: %s",
			 name_end ? (int) (name_end - message) : 0, message,
			 certificate_bytes, client->certificate, reason->text);
	return reason->trouble;
}

/*
 * Before 2.6.1 librdkafka sends a nonce that is wrong by RFC 5802 section 5.1.
 * Kafka has allowed for that until version 3.9: nobody would guess what is
 * wrong (https://github.com/confluentinc/librdkafka/pull/4895).
 */
static void
name_scram(OutboxKafkaClient *client, const char **message)
{
	if (rd_kafka_version() >= 0x020601ff || strstr(*message, "SCRAM") == NULL)
		return;
	snprintf(client->message, sizeof(client->message),
			 "%s; to Kafka 4, librdkafka %s cannot log in with SCRAM, 2.6.1 "
			 "and newer can",
			 *message, rd_kafka_version_str());
	*message = client->message;
}

/*
 * Why an error has come. Its message becomes a better one, in client->message,
 * if there is one; else *message is left as it is.
 */
OutboxTrouble
outbox_kafka_trouble(OutboxKafkaClient *client, rd_kafka_resp_err_t code,
					 const char **message)
{
	OutboxTrouble trouble;

	trouble = outbox_kafka_token_trouble(client, message);
	if (trouble != OUTBOX_TROUBLE_AWAY)
		return trouble;
	if (is_about_our_certificate(*message))
		return client->anonymous ? OUTBOX_TROUBLE_ANONYMOUS
								 : OUTBOX_TROUBLE_CERTIFICATE;
	if (strstr(*message, "certificate verify failed") != NULL)
	{
		client->message[0] = '\0';
		trouble = name_certificate(client, *message);
		if (client->message[0] != '\0')
			*message = client->message;
		return trouble;
	}
	for (size_t i = 0; i < lengthof(signs); i++)
	{
		if (strstr(*message, signs[i].text) == NULL)
			continue;
		/* one that has served us hangs up because it ends, or refuses that we
		 * log in again on a connection: the next one will do */
		if (client->served && (signs[i].trouble == OUTBOX_TROUBLE_LISTENER ||
							   signs[i].trouble == OUTBOX_TROUBLE_NO_LOGIN))
			return OUTBOX_TROUBLE_AWAY;
		return signs[i].trouble;
	}
	if (code == RD_KAFKA_RESP_ERR__SSL)
		return OUTBOX_TROUBLE_TLS;
	if (outbox_kafka_failure(code) == OUTBOX_FAILURE_LOGIN)
	{
		name_scram(client, message);
		return OUTBOX_TROUBLE_LOGIN;
	}
	return OUTBOX_TROUBLE_AWAY;
}
