/*-------------------------------------------------------------------------
 *
 * outage.h
 *	  Brokers that do not answer, or not as they should.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_OUTAGE_H
#define OUTBOX_OUTAGE_H

#include "datatype/timestamp.h"

#include "shared/shmem.h"
#include "sink/sink.h"

/* Brokers, as one sink or source after another has found them */
typedef struct OutboxOutage
{
	/* the module's, as in its table of functions */
	const OutboxTroubleWords *words;
	bool (*is_same_message)(const char *a, const char *b);
	OutboxRelayState working; /* what is shown when it is over */

	TimestampTz since;             /* 0 = they answer */
	TimestampTz back_at;           /* the last one was over */
	TimestampTz unreachable_since; /* the module says so; not only silence */
	TimestampTz last_result_at;    /* or when something to answer came */
	int login_failures;            /* one after another */
	OutboxTrouble trouble;         /* what the complaint tells of */
	char complaint[OUTBOX_SINK_ERROR_MAX]; /* of the module, since then */
	bool complaint_untold;                 /* in the log */
} OutboxOutage;

extern void
outbox_outage_init(OutboxOutage *outage, const OutboxTroubleWords *words,
				   bool (*is_same_message)(const char *a, const char *b),
				   OutboxRelayState working);
extern void outbox_outage_refused(OutboxOutage *outage, OutboxTrouble trouble,
								  const char *reason);
extern long outbox_outage_login_delay_ms(OutboxOutage *outage);
extern void outbox_outage_unreachable(OutboxOutage *outage, bool pending);
extern void outbox_outage_lost(OutboxOutage *outage, bool pending,
							   OutboxTrouble trouble, const char *reason);
extern void outbox_outage_complaint(OutboxOutage *outage, int log_level,
									const char *message);
extern void outbox_outage_silent(OutboxOutage *outage);
extern long outbox_outage_timeout_ms(const OutboxOutage *outage, bool pending);
extern void outbox_outage_check(OutboxOutage *outage, bool pending);
extern void outbox_outage_over(OutboxOutage *outage, bool pending);
extern void outbox_outage_reopened(OutboxOutage *outage);

#endif /* OUTBOX_OUTAGE_H */
