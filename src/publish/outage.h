/*-------------------------------------------------------------------------
 *
 * outage.h
 *	  Brokers that do not answer, or not as they should.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_OUTAGE_H
#define OUTBOX_OUTAGE_H

#include "publish/stream.h"

extern void outbox_outage_unreachable(OutboxStream *stream,
									  OutboxFailure failure,
									  OutboxTrouble trouble,
									  const char *reason);
extern void outbox_outage_lost(OutboxStream *stream, OutboxTrouble trouble,
							   const char *reason);
extern void outbox_outage_complaint(OutboxStream *stream, int log_level,
									const char *message);
extern void outbox_outage_check(OutboxStream *stream);
extern void outbox_outage_over(OutboxStream *stream);
extern long outbox_outage_timeout_ms(const OutboxStream *stream);

#endif /* OUTBOX_OUTAGE_H */
