/*-------------------------------------------------------------------------
 *
 * module.h
 *	  Calls of the module behind sink.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_MODULE_H
#define OUTBOX_MODULE_H

#include "sink/kind.h"
#include "sink/sink.h"

extern const OutboxSinkApi *outbox_module_load(const OutboxSinkKind *kind);
extern const OutboxSinkKind *outbox_module_kind(void);
extern OutboxSink *outbox_module_open(const OutboxSinkApi *api,
									  const OutboxSinkConfig *config,
									  char *error);
extern OutboxSinkAnswer outbox_module_publish(const OutboxSinkApi *api,
											  OutboxSink *sink,
											  const OutboxRecord *record,
											  OutboxFailure *failure,
											  char *error);
extern bool outbox_module_poll(const OutboxSinkApi *api, OutboxSink *sink,
							   OutboxSinkEvent *event);
extern void outbox_module_broken(const char *how);

#endif /* OUTBOX_MODULE_H */
