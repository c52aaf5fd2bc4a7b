/*-------------------------------------------------------------------------
 *
 * module.h
 *	  Calls of the module behind source.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SOURCE_MODULE_H
#define OUTBOX_SOURCE_MODULE_H

#include "source/source.h"

extern const OutboxSourceApi *outbox_source_load(const OutboxSinkKind *kind);
extern OutboxSource *outbox_source_open(const OutboxSourceApi *api,
										const OutboxSourceConfig *config,
										char *error);
extern bool outbox_source_poll(const OutboxSourceApi *api,
							   OutboxSource *source, OutboxSourceEvent *event);

#endif /* OUTBOX_SOURCE_MODULE_H */
