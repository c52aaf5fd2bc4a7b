/*-------------------------------------------------------------------------
 *
 * init.c
 *	  The entry of the library: hooks each module in. No logic.
 *
 * The library must be preloaded: its shared memory is laid out when the
 * server starts, and its callbacks must be registered before those of other
 * extensions, in every backend. Loaded later, by a function call, it does
 * nothing, and the functions say what to do.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "compat.h"
#include "ddl/ddl_hooks.h"
#include "emit/view_lookup.h"
#include "emit/xact.h"
#include "guc.h"
#include "launcher/launcher.h"
#include "monitor/reset_figures.h"
#include "shared/prepared.h"
#include "shared/shmem.h"

PG_MODULE_MAGIC_EXT(.name = "outbox", .version = OUTBOX_VERSION);

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	outbox_guc_define();
	outbox_shmem_install_hooks();
	outbox_xact_install_hooks();
	outbox_view_lookup_install_hooks();
	outbox_ddl_install_hooks();
	outbox_prepared_install_hooks();
	outbox_reset_figures_install_hooks();

	/* nothing is published while pg_upgrade moves the data */
	if (!IsBinaryUpgrade)
		outbox_launcher_register();
}
