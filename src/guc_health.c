/*-------------------------------------------------------------------------
 *
 * guc_health.c
 *	  From when on outbox.health() warns, and from when on it calls it
 *	  critical. Only SQL reads these settings (sql/code/health.sql), so
 *	  everybody may have his own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <limits.h>

#include "utils/guc.h"

#include "guc_health.h"

#define NEVER OUTBOX_HEALTH_NEVER

#define HOUR  3600
#define DAY   86400

static OutboxHealthThreshold thresholds[] = {
	{"outbox.health_lag_warning", "outbox.health_lag_critical",
	 "How old the oldest event that is not published may be.", GUC_UNIT_S, 30,
	 300},
	{"outbox.health_lag_events_warning", "outbox.health_lag_events_critical",
	 "How many events may wait to be published.", 0, NEVER, NEVER},
	{"outbox.health_subscription_lag_warning",
	 "outbox.health_subscription_lag_critical",
	 "How old the oldest message that a subscription has not handled may be.",
	 GUC_UNIT_S, 30, 300},
	{"outbox.health_down_warning", "outbox.health_down_critical",
	 "For how long a relay or a subscription may not be at work, or reach no "
	 "broker.",
	 GUC_UNIT_S, 10, 60},
	{"outbox.health_blocked_warning", "outbox.health_blocked_critical",
	 "For how long a key or a topic may be blocked, or a message fail.",
	 GUC_UNIT_S, 60, 900},
	{"outbox.health_dead_letters_warning",
	 "outbox.health_dead_letters_critical",
	 "How many dead letters there may be.", 0, 1, 1000},
	{"outbox.health_paused_warning", "outbox.health_paused_critical",
	 "For how long a relay, a topic or a subscription may be paused.",
	 GUC_UNIT_S, 0, DAY},
	{"outbox.health_position_warning", "outbox.health_position_critical",
	 "For how long a position may not be written.", GUC_UNIT_S, 30, 300},
	{"outbox.health_retention_warning", "outbox.health_retention_critical",
	 "For how much longer than outbox.retention events may be kept.",
	 GUC_UNIT_S, HOUR, DAY},
	{"outbox.health_storage_warning", "outbox.health_storage_critical",
	 "How large the outbox may be.", GUC_UNIT_MB, NEVER, NEVER},
	{"outbox.health_ids_warning", "outbox.health_ids_critical",
	 "What part of all ids may be used up, in percent.", 0, 50, 90},
	{"outbox.health_clock_warning", "outbox.health_clock_critical",
	 "How far the clock may have been set back.", GUC_UNIT_S, 10, HOUR},
};

static void
define(const char *name, const char *description, int *value, int unit)
{
	DefineCustomIntVariable(name, description,
							"outbox.health() compares with it. -1 means "
							"never.",
							value, *value, NEVER, INT_MAX, PGC_USERSET, unit,
							NULL, NULL, NULL);
}

/* Called once, while the postmaster loads the library. */
void
outbox_guc_health_define(void)
{
	for (size_t i = 0; i < lengthof(thresholds); i++)
	{
		OutboxHealthThreshold *threshold = &thresholds[i];

		define(threshold->warning_name, threshold->description,
			   &threshold->warning, threshold->unit);
		define(threshold->critical_name, threshold->description,
			   &threshold->critical, threshold->unit);
	}
}

/* One of them, as the session has set it; NULL: there are no more */
const OutboxHealthThreshold *
outbox_guc_health_threshold(size_t number)
{
	return number < lengthof(thresholds) ? &thresholds[number] : NULL;
}
