/*-------------------------------------------------------------------------
 *
 * guc_health.h
 *	  The thresholds of outbox.health().
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUC_HEALTH_H
#define OUTBOX_GUC_HEALTH_H

extern void outbox_guc_health_define(void);

#endif /* OUTBOX_GUC_HEALTH_H */
