/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  Settings that decide what output functions write.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_SETTINGS_H
#define OUTBOX_CAPTURE_SETTINGS_H

#include "outbox.h"

extern bool outbox_capture_needs_settings(Oid type);
extern int outbox_capture_pin_settings(void);
extern void outbox_capture_unpin_settings(int level);

#endif /* OUTBOX_CAPTURE_SETTINGS_H */
