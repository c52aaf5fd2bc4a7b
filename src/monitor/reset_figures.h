/*-------------------------------------------------------------------------
 *
 * reset_figures.h
 *	  The figures of relays begin anew.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RESET_FIGURES_H
#define OUTBOX_RESET_FIGURES_H

extern void outbox_reset_figures_install_hooks(void);

#endif /* OUTBOX_RESET_FIGURES_H */
