/*-------------------------------------------------------------------------
 *
 * topic_filter.h
 *	  Which topics this relay publishes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TOPIC_FILTER_H
#define OUTBOX_TOPIC_FILTER_H

#include "outbox.h"

extern bool outbox_topic_filter_is_set(void);
extern bool outbox_topic_filter_has(const text *topic);
extern void outbox_topic_filter_forget(void);

#endif /* OUTBOX_TOPIC_FILTER_H */
