/*-------------------------------------------------------------------------
 *
 * main.h
 *	  The process that gives messages to a function of its database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBE_MAIN_H
#define OUTBOX_SUBSCRIBE_MAIN_H

#include "outbox.h"

extern PGDLLEXPORT void outbox_subscriber_main(Datum main_arg);

#endif /* OUTBOX_SUBSCRIBE_MAIN_H */
