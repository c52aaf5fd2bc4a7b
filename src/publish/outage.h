/*-------------------------------------------------------------------------
 *
 * outage.h
 *	  Brokers that do not answer, or not as they should.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_OUTAGE_H
#define OUTBOX_OUTAGE_H

#include "publish/publish.h"

extern void outbox_trouble_unreachable(OutboxStream *stream,
									   OutboxFailure failure,
									   OutboxTrouble trouble,
									   const char *reason);
extern void outbox_trouble_lost(OutboxStream *stream, OutboxTrouble trouble,
								const char *reason);
extern void outbox_trouble_complaint(OutboxStream *stream, int log_level,
									 const char *message);
extern void outbox_trouble_check(OutboxStream *stream);
extern void outbox_trouble_over(OutboxStream *stream);
extern long outbox_trouble_patience_ms(const OutboxStream *stream);

#endif /* OUTBOX_OUTAGE_H */
