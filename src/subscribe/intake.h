/*-------------------------------------------------------------------------
 *
 * intake.h
 *	  What comes from the brokers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_INTAKE_H
#define OUTBOX_INTAKE_H

#include "source/source.h"
#include "subscribe/subscriber.h"

extern void outbox_intake_open(const OutboxSourceApi *api);
extern bool outbox_intake_reconfigure(void);
extern void outbox_intake_close(void);
extern bool outbox_intake_run(void);
extern long outbox_intake_timeout_ms(void);
extern void outbox_intake_tell(void);
extern void outbox_intake_forget(void);

#endif /* OUTBOX_INTAKE_H */
