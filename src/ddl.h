/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  Commands that make relays come and go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DDL_H
#define OUTBOX_DDL_H

extern void outbox_ddl_install_hooks(void);

#endif /* OUTBOX_DDL_H */
