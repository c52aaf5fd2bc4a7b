/*-------------------------------------------------------------------------
 *
 * ddl_hooks.h
 *	  Commands that make relays come and go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DDL_HOOKS_H
#define OUTBOX_DDL_HOOKS_H

extern void outbox_ddl_install_hooks(void);

#endif /* OUTBOX_DDL_HOOKS_H */
