/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  Messages that have come, in their order, until they are handled. They are
 *	  copied, and their memory is given back as a whole when all are gone: so
 *	  no more are taken until then, if they are many or large.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"

#include "subscribe/incoming.h"
#include "subscribe/queue.h"

/* what may be taken in memory, but for the last message */
#define BYTES_MAX (4 * 1024 * 1024)

static MemoryContext queue_context = NULL;
static OutboxQueued *queue = NULL;
static int room = 0;
static int first = 0; /* those before it are gone */
static int count = 0;
static size_t bytes = 0; /* of all since the queue was empty */

static bytea *
copy_bytes(const char *data, size_t size)
{
	bytea *copy;

	if (data == NULL)
		return NULL;
	copy = palloc(VARHDRSZ + size);
	SET_VARSIZE(copy, VARHDRSZ + size);
	memcpy(VARDATA(copy), data, size);
	bytes += size;
	return copy;
}

static const char *
copy_part(const char *data, int size)
{
	char *copy;

	if (data == NULL)
		return NULL;
	copy = palloc(Max(size, 1));
	memcpy(copy, data, size);
	bytes += size;
	return copy;
}

static const OutboxHeader *
copy_headers(const OutboxHeader *headers, int header_count)
{
	OutboxHeader *copy;

	if (header_count == 0)
		return NULL;
	copy = palloc(sizeof(OutboxHeader) * header_count);
	for (int i = 0; i < header_count; i++)
	{
		copy[i] = headers[i];
		copy[i].name = copy_part(headers[i].name, headers[i].name_bytes);
		copy[i].value = copy_part(headers[i].value, headers[i].value_bytes);
	}
	bytes += sizeof(OutboxHeader) * header_count;
	return copy;
}

static int64
size_of(const OutboxSourceMessage *source)
{
	int64 size = (int64) (source->key_bytes + source->payload_bytes);

	for (int i = 0; i < source->header_count; i++)
		size += source->headers[i].name_bytes + source->headers[i].value_bytes;
	return size;
}

static void
make_room(void)
{
	if (count < room)
		return;
	room = Max(2 * room, 64);
	queue = queue == NULL ? MemoryContextAlloc(TopMemoryContext,
											   sizeof(OutboxQueued) * room)
						  : repalloc_huge(queue, sizeof(OutboxQueued) * room);
}

/* Adds a message, which is copied; of one that is too large, only where it
 * is. The partition still tells what is before it. */
void
outbox_queue_add(OutboxPartition *partition, const OutboxSourceMessage *source)
{
	OutboxQueued *queued;
	MemoryContext old_context;

	if (queue_context == NULL)
		queue_context = AllocSetContextCreate(TopMemoryContext, "outbox queue",
											  ALLOCSET_DEFAULT_SIZES);
	make_room();
	queued = &queue[count++];
	*queued = (OutboxQueued){
		.message = {.partition = partition,
					.topic = partition->topic,
					.number = partition->number,
					.offset = source->offset,
					.published_at = outbox_incoming_time(source->timestamp_ms),
					.attempt = 1},
		.after = partition->taken};
	bytes += sizeof(OutboxQueued);
	old_context = MemoryContextSwitchTo(queue_context);
	if (outbox_incoming_fits(source))
	{
		queued->message.key = copy_bytes(source->key, source->key_bytes);
		queued->message.payload =
			copy_bytes(source->payload, source->payload_bytes);
		queued->headers = copy_headers(source->headers, source->header_count);
		queued->header_count = source->header_count;
	}
	else
		queued->too_large = size_of(source);
	MemoryContextSwitchTo(old_context);
}

/* Are there as many as a transaction may have, or as memory may? */
bool
outbox_queue_is_full(void)
{
	return count >= outbox_subscriber.subscription->batch_size ||
		   bytes >= BYTES_MAX;
}

int
outbox_queue_length(void)
{
	return count - first;
}

/* The message at that place, from 0 on; until the queue changes */
OutboxQueued *
outbox_queue_at(int place)
{
	Assert(place >= 0 && first + place < count);
	return &queue[first + place];
}

/* The same with its headers, which may need catalogs: in a transaction */
const OutboxMessage *
outbox_queue_message(OutboxQueued *queued)
{
	if (!queued->ready)
	{
		MemoryContext old_context = MemoryContextSwitchTo(queue_context);

		outbox_incoming_set_headers(&queued->message, queued->headers,
									queued->header_count);
		queued->ready = true;
		MemoryContextSwitchTo(old_context);
	}
	return &queued->message;
}

/* The first ones are done, or dropped. */
void
outbox_queue_remove(int number)
{
	first += number;
	if (first == count)
		outbox_queue_clear();
}

/* Drops what there is of a partition. */
void
outbox_queue_drop(const OutboxPartition *partition)
{
	for (int i = first; i < count; i++)
	{
		if (queue[i].message.partition == partition)
			queue[i].dropped = true;
	}
}

void
outbox_queue_clear(void)
{
	first = count = 0;
	bytes = 0;
	if (queue_context != NULL)
		MemoryContextReset(queue_context);
}
