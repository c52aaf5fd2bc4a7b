# Commands on our own objects: what would break them is refused, what is
# nobody's harm is not.
#
# Catches: a renamed, moved or altered object that is accepted, and stops
# emitting or publishing with an error far from its cause; triggers of ours
# that are turned off; a sequence with a cache, which breaks the order of
# events; ordinary maintenance that is refused.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

note 'refused';
query(<<~'END');
	CREATE SCHEMA other;
	CREATE TABLE child (LIKE outbox.event);
	CREATE TABLE ordinary (id bigint PRIMARY KEY);
	CREATE TABLE ring (LIKE outbox.event) PARTITION BY RANGE (id);
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
	END
fails_with($node, 'postgres', $_, '0A000', qr/cannot change objects of extension "outbox"/, $_)
  for split /\n/, <<~'END';
	ALTER SCHEMA outbox RENAME TO inbox
	ALTER TABLE outbox.event RENAME TO occurrence
	ALTER TABLE outbox.event_3 RENAME TO old
	ALTER TABLE outbox.event RENAME COLUMN key TO schluessel
	ALTER TABLE outbox.parked RENAME CONSTRAINT parked_pkey TO other
	ALTER TRIGGER replicated ON outbox.parked RENAME TO other
	ALTER SEQUENCE outbox.event_id_seq RENAME TO ids
	ALTER TABLE outbox.event_id_seq RENAME TO ids
	ALTER VIEW outbox.stat_relay RENAME TO stat
	ALTER VIEW outbox.stat_relay RENAME COLUMN pid TO process
	ALTER INDEX outbox.event_0_pkey RENAME TO other
	ALTER FUNCTION outbox.requeue RENAME TO again
	ALTER FUNCTION outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text) RENAME TO emit
	ALTER FUNCTION outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text) SET SCHEMA other
	ALTER FUNCTION outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text) STRICT
	ALTER ROUTINE outbox.discard SET search_path = public
	CREATE OR REPLACE FUNCTION outbox.pause(relay text DEFAULT NULL, reason text DEFAULT NULL) RETURNS void LANGUAGE sql AS 'SELECT'
	SET search_path = outbox; CREATE OR REPLACE FUNCTION horizon(OUT bigint) LANGUAGE sql AS 'SELECT 1'
	CREATE OR REPLACE FUNCTION outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'
	CREATE OR REPLACE VIEW outbox.paused AS SELECT NULL::text AS relay, NULL::text AS topic, now() AS paused_at, NULL::name AS paused_by, NULL::text AS reason
	CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO outbox.paused DO INSTEAD SELECT NULL::text AS relay, NULL::text AS topic, now() AS paused_at, NULL::name AS paused_by, NULL::text AS reason
	CREATE OR REPLACE TRIGGER loading BEFORE INSERT ON outbox.event_0 FOR EACH STATEMENT EXECUTE FUNCTION nothing()
	ALTER TABLE outbox.delayed SET SCHEMA other
	ALTER SEQUENCE outbox.replay_id_seq SET SCHEMA other
	ALTER VIEW outbox.blocked SET SCHEMA other
	ALTER EXTENSION outbox DROP TABLE outbox.parked
	ALTER EXTENSION outbox ADD TABLE child
	ALTER TABLE outbox.event ADD COLUMN mine text
	ALTER TABLE ONLY outbox.event_0 DROP COLUMN headers
	ALTER TABLE outbox.delayed ALTER COLUMN topic TYPE varchar(10)
	ALTER TABLE outbox.event_0 SET UNLOGGED
	ALTER TABLE outbox.event_0 NO INHERIT outbox.event
	ALTER TABLE child INHERIT outbox.event
	CREATE TABLE children () INHERITS (outbox.event)
	ALTER TABLE ring ATTACH PARTITION outbox.event_0 DEFAULT
	ALTER TABLE outbox.event_0 DROP CONSTRAINT event_0_pkey
	ALTER TABLE outbox.event_0 ADD CHECK (topic <> 't')
	ALTER TABLE outbox.event_0 ADD FOREIGN KEY (id) REFERENCES ordinary
	ALTER TABLE outbox.parked SET (fillfactor = 70), ADD COLUMN mine text
	ALTER TABLE outbox.parked DISABLE TRIGGER loading
	ALTER TABLE outbox.parked ENABLE ALWAYS TRIGGER replicated_truncate
	ALTER TABLE outbox.event_0 DISABLE TRIGGER ALL
	ALTER TABLE outbox.event_0 ENABLE TRIGGER USER
	DROP TRIGGER loading ON outbox.event_0
	CREATE RULE away AS ON INSERT TO outbox.event_0 DO INSTEAD NOTHING
	ALTER SEQUENCE outbox.event_id_seq CACHE 20
	ALTER SEQUENCE outbox.event_id_seq INCREMENT 2
	ALTER SEQUENCE outbox.event_id_seq OWNED BY ordinary.id
	ALTER SEQUENCE outbox.event_id_seq SET UNLOGGED
	DO $$ BEGIN ALTER SCHEMA outbox RENAME TO inbox; END $$
	END
fails_with($node, 'postgres', 'ALTER EXTENSION outbox SET SCHEMA other', '0A000', qr/does not support SET SCHEMA/, 'by core');
fails_with($node, 'postgres', 'DROP TABLE outbox.parked', '2BP01', qr/requires it/, 'by core');

note 'allowed';
for (split /\n/, <<~'END')
	ALTER TABLE outbox.event_0 SET (autovacuum_enabled = off, fillfactor = 90)
	ALTER TABLE outbox.parked SET TABLESPACE pg_default
	ALTER TABLE outbox.delayed ALTER COLUMN topic SET STATISTICS 500
	ALTER TABLE outbox.event_1 ALTER COLUMN payload SET STORAGE EXTERNAL, ALTER COLUMN payload SET COMPRESSION pglz
	ALTER TABLE outbox.event_1 CLUSTER ON event_1_pkey
	ALTER TABLE outbox.event_0 SET LOGGED
	ALTER TABLE outbox.parked ENABLE ROW LEVEL SECURITY
	ALTER TABLE outbox.parked DISABLE ROW LEVEL SECURITY
	ALTER INDEX outbox.event_0_pkey SET (fillfactor = 80)
	ALTER TABLE outbox.relay OWNER TO CURRENT_USER
	ALTER VIEW outbox.stat_relay OWNER TO CURRENT_USER
	ALTER FUNCTION outbox.requeue OWNER TO CURRENT_USER
	GRANT SELECT ON outbox.event TO pg_monitor
	COMMENT ON TABLE outbox.event IS 'mine'
	CREATE INDEX mine ON outbox.event_0 (emitted_at)
	DROP INDEX outbox.mine
	CREATE TRIGGER mine AFTER INSERT ON outbox.discarded FOR EACH ROW EXECUTE FUNCTION nothing()
	ALTER TABLE outbox.discarded DISABLE TRIGGER mine
	ALTER TRIGGER mine ON outbox.discarded RENAME TO yours
	DROP TRIGGER yours ON outbox.discarded
	SET search_path = other, outbox; CREATE OR REPLACE FUNCTION horizon() RETURNS bigint LANGUAGE sql AS 'SELECT 1'
	CREATE OR REPLACE FUNCTION outbox.pause(what int) RETURNS void LANGUAGE sql AS 'SELECT'
	DROP FUNCTION outbox.pause(int)
	CREATE OR REPLACE VIEW paused AS SELECT 1 AS one
	ALTER TABLE ordinary RENAME TO usual
	ALTER TABLE usual DISABLE TRIGGER ALL
	ALTER SCHEMA other RENAME TO another
	ALTER TABLE IF EXISTS absent RENAME TO present
	ALTER FUNCTION nothing() SET SCHEMA another
	VACUUM (FULL, ANALYZE) outbox.event_1
	REINDEX SCHEMA outbox
	CLUSTER outbox.event_1
	ALTER SEQUENCE outbox.replay_id_seq RESTART WITH 5
	END
{
	my ($status, undef, $err) = $node->psql('postgres', $_);
	is($status ? $err : '', '', $_);
}

note 'all works';
query("SELECT outbox_emit('t', 'k', 'x')");
ok(wait_published($node), 'published');
ok($consumer->drain, 'drained');
is($consumer->count, 1, 'arrived');
query('DROP EXTENSION outbox');
query('ALTER SCHEMA another RENAME TO outbox');
pass('without the extension, nothing is protected');
$node->stop;
done_testing();
