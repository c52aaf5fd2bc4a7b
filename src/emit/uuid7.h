/*-------------------------------------------------------------------------
 *
 * uuid7.h
 *	  UUID version 7: names that sort by time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_UUID7_H
#define OUTBOX_UUID7_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

extern TimestampTz outbox_uuid7_generate(pg_uuid_t *uuid);

#endif /* OUTBOX_UUID7_H */
