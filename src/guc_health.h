/*-------------------------------------------------------------------------
 *
 * guc_health.h
 *	  The thresholds of outbox.health().
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUC_HEALTH_H
#define OUTBOX_GUC_HEALTH_H

#include "outbox.h"

#define OUTBOX_HEALTH_NEVER -1

/* What is measured, in which unit, and from when on */
typedef struct OutboxHealthThreshold
{
	const char *warning_name;
	const char *critical_name;
	const char *description;
	int unit; /* GUC_UNIT_...; 0 = a number */
	int warning;
	int critical;
} OutboxHealthThreshold;

extern void outbox_guc_health_define(void);
extern const OutboxHealthThreshold *outbox_guc_health_threshold(size_t number);

#endif /* OUTBOX_GUC_HEALTH_H */
