/*-------------------------------------------------------------------------
 *
 * liblog.h
 *	  The log of the broker's client library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LIBLOG_H
#define OUTBOX_LIBLOG_H

extern void outbox_liblog(int syslog_level, const char *message);

#endif /* OUTBOX_LIBLOG_H */
