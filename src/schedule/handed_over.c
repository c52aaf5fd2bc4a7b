/*-------------------------------------------------------------------------
 *
 * handed_over.c
 *	  Events of outbox_emit_now(): the relay's side. Each is committed in a
 *	  transaction of its own, the end of which answers the session that waits
 *	  for it (shared/handover.c).
 *
 * An error is that event's alone. The session is told, so nothing is tried
 * again, and the next event need not wait for that.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "storage/dsm.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "emit/xact.h"
#include "emit/xact_buffer.h"
#include "event.h"
#include "poison/guard.h"
#include "schedule/handed_over.h"
#include "shared/handover.h"
#include "shared/my_relay.h"
#include "shared/shutdown.h"
#include "store/transaction.h"

/* in one turn at most: the stream waits meanwhile */
#define TURN_EVENTS 100

/* the one that the current transaction is about */
static OutboxHandover *taken = NULL;

/* Answers, when it is certain and others see it. */
static void
xact_callback(XactEvent event, void *arg)
{
	OutboxHandover *handover = taken;

	(void) arg;
	if (handover == NULL)
		return;
	if (event == XACT_EVENT_COMMIT)
	{
		taken = NULL;
		handover->commit_lsn = XactLastCommitEnd;
		outbox_handover_answer(handover, OUTBOX_HANDOVER_COMMITTED);
	}
	else if (event == XACT_EVENT_ABORT)
	{
		taken = NULL;
		if (outbox_shutdown_is_requested())
			outbox_handover_give_back(handover);
		else
			outbox_handover_answer(handover, OUTBOX_HANDOVER_FAILED);
	}
}

static void
init(const OutboxSinkApi *api)
{
	(void) api;
	RegisterXactCallback(xact_callback, NULL);
}

/* What the session is told if the transaction is rolled back */
static void
set_error(OutboxHandover *handover, int sqlerrcode, const char *message)
{
	int bytes = pg_mbcliplen(message, (int) strlen(message),
							 (int) sizeof(handover->error) - 1);

	handover->sqlerrcode = sqlerrcode;
	memcpy(handover->error, message, bytes);
	handover->error[bytes] = '\0';
}

/* In PG_CATCH */
static void
note_error(void)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData *error = CopyErrorData();

	set_error(taken, error->sqlerrcode, error->message);
	FreeErrorData(error);
	MemoryContextSwitchTo(old_context);
}

/* Emits what has been taken in the current transaction. */
static void
emit_row(void)
{
	dsm_segment *segment = dsm_attach(taken->event);
	const OutboxHandedRow *row;
	HeapTupleData tuple = {0};

	/* then the session has let go */
	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the event of outbox_emit_now() has been withdrawn")));
	row = dsm_segment_address(segment);
	tuple.t_len = row->bytes;
	tuple.t_data = (HeapTupleHeader) row->tuple;
	outbox_xact_join(true);
	if (HeapTupleHeaderGetNatts(tuple.t_data) == OUTBOX_DELAYED_COLUMNS)
	{
		bool is_null;
		Datum due = heap_getattr(&tuple, OUTBOX_DELAYED_DELIVER_AT + 1,
								 outbox_event_tupdesc(OUTBOX_DELAYED_COLUMNS),
								 &is_null);

		outbox_xact_note_due(DatumGetTimestampTz(due));
	}
	outbox_xact_buffer_append(&tuple, 0);
	dsm_detach(segment);
}

/* Commits one. */
static OutboxStoreStatus
commit(OutboxHandover *handover)
{
	bool delayed = handover->delayed;
	OutboxStoreStatus status = outbox_store_begin_emit(
		"outbox: emitting an event of outbox_emit_now()",
		delayed ? OUTBOX_DELAYED_TABLE : NULL);

	pg_atomic_write_u32(&outbox_my_relay.db->handover_locked,
						status == OUTBOX_STORE_BUSY);
	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_handover_take(outbox_my_relay.db, handover, delayed))
	{
		/* unless an error tells more */
		set_error(handover, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				  "the relay has ended");
		taken = handover;
		emit_row();
	}
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxStoreStatus volatile status = OUTBOX_STORE_OK;
	volatile int committed = 0;

	(void) round;
	PG_TRY();
	{
		while (status == OUTBOX_STORE_OK && committed < TURN_EVENTS)
		{
			OutboxHandover *handover =
				outbox_handover_next(outbox_my_relay.db);

			if (handover == NULL)
				break;
			status = commit(handover);
			committed++;
		}
	}
	PG_CATCH();
	{
		if (taken != NULL)
			note_error();
		PG_RE_THROW();
	}
	PG_END_TRY();
	return outbox_store_task_result(status, committed > 0);
}

static void
undo(const OutboxRound *round)
{
	(void) round;
	outbox_guard_forget(&outbox_handed_over_task);
}

OutboxTask outbox_handed_over_task = {
	.name = "emitting an event of outbox_emit_now()",
	.detail = "The session that has called it gets the error.",
	.chore = true,
	.run = run,
	.init = init,
	.undo = undo,
};
