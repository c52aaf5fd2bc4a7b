/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  Names that every part of outbox uses: schema, tables, columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include "postgres.h"

#define OUTBOX_VERSION         "1.0"
#define OUTBOX_EXTENSION       "outbox"
#define OUTBOX_SCHEMA          "outbox"
#define OUTBOX_SEQUENCE        "event_id_seq"
#define OUTBOX_EVENT_TABLE     "event"
#define OUTBOX_RELAY_TABLE     "relay"
#define OUTBOX_PARKED_TABLE    "parked"
#define OUTBOX_DISCARDED_TABLE "discarded"
#define OUTBOX_PAUSED_TABLE    "paused_topic"
#define OUTBOX_REPLAY_TABLE    "replay_job"
#define OUTBOX_DELAYED_TABLE   "delayed"
#define OUTBOX_POSITION_TABLE  "position"
#define OUTBOX_RIGHTS_TABLE    "emit_right"
#define OUTBOX_RECEIVERS_TABLE "receive_right"
#define OUTBOX_INBOX_TURN      "inbox_turn"
#define OUTBOX_INBOX_PARKED    "inbox_parked"
#define OUTBOX_INBOX_DEAD      "inbox_dead"
#define OUTBOX_RULES_TABLE     "topic_rule_entry"
#define OUTBOX_AUDIT_TABLE     "audit_entry"
#define OUTBOX_CAPTURE_TABLE   "capture"
#define OUTBOX_BACKFILL_TABLE  "backfill_job"
#define OUTBOX_SUBSCRIPTIONS   "subscription"
#define OUTBOX_OFFSETS_TABLE   "subscription_offset"

/* the ring of segments, by number */
#define OUTBOX_SEGMENTS        8
#define OUTBOX_SEGMENT_PREFIX  "event_"
#define OUTBOX_POSITION_PREFIX "position_"

/* the two tables of the inbox, likewise */
#define OUTBOX_INBOX_PREFIX    "inbox_"

/* the first relay; others come with their own rows in outbox.relay */
#define OUTBOX_DEFAULT_RELAY   "default"

/* the header that carries event_id; the application cannot set it */
#define OUTBOX_HEADER_EVENT_ID "event_id"

/* the header of a copy that one relay alone publishes: its name. It is not
 * sent, nor can the application set it */
#define OUTBOX_HEADER_RELAY    "outbox_relay"

/* bytes of an event's type, source or content type */
#define OUTBOX_ATTRIBUTE_MAX   250

/* how many headers the application can set; others come with copies */
#define OUTBOX_HEADERS_MAX     1000

/* triggers of tables that are published: this, and the id of a row there. The
 * first in the order of names */
#define OUTBOX_CAPTURE_TRIGGER "00_outbox_"

#endif /* OUTBOX_H */
