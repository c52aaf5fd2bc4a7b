# Django and SQLAlchemy write into views of outbox.create_view() as they do into
# tables: test/orm/app_*.py insert, insert many, save again, remove, read back,
# commit and roll back, with JSON in a column of text and in one of jsonb, with
# ids of the application and of the server.
#
# Catches: a statement that an ORM makes and the view refuses, or answers with
# another number of rows, which an ORM takes for a conflict; an id that it does
# not get back, or that is not that of the event; events in another order than
# the objects; one that was rolled back.

use strict;
use warnings;

use FindBin;
use JSON::PP;
use OutboxTest;
use Test::More;

my $python = $ENV{OUTBOX_ORM_PYTHON} // '';
plan skip_all => 'Django and SQLAlchemy are not installed'
  unless IPC::Run::run([ $python, '-c', 'import django, sqlalchemy, psycopg' ], '<', \undef, '>', \my $ignored, '2>', \my $why);

my $node = outbox_node('main', extension => 1, conf => 'outbox.enabled = off', extra => [ '--encoding=UTF8', '--locale=C' ]);
query(<<~'END');
	CREATE ROLE shop LOGIN;
	CREATE SCHEMA app;
	CREATE TABLE app.orders (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, item text);
	SELECT outbox.create_view('app.outboxtext', headers => '{tenant}');
	SELECT outbox.create_view('app.outboxjson', payload_type => 'jsonb', headers => '{tenant}');
	GRANT USAGE ON SCHEMA app TO shop;
	GRANT ALL ON ALL TABLES IN SCHEMA app TO shop;
	SELECT outbox.grant_emit('shop', '{outbox.event.order}');
	END

for my $library (qw(django sqlalchemy))
{
	my $last = query('SELECT COALESCE(max(id), 0) FROM outbox.event');
	my ($out, $err);
	my $ok = do {
		local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'shop', PYTHONIOENCODING => 'utf-8');
		IPC::Run::run([ $python, "$FindBin::RealBin/../orm/app_$library.py" ], '<', \undef, '>', \$out, '2>', \$err);
	};

	ok($ok, "$library runs") or diag $err;
	my @expected = map { decode_json($_) } split /\n/, $out;
	my @stored = map { decode_json($_) } split /\n/, query(<<~END);
		SELECT jsonb_build_array(event_id, key, type, convert_from(payload, 'UTF8')::jsonb, headers ->> 'tenant')
		FROM outbox.event WHERE id > $last ORDER BY id
		END
	cmp_ok(@expected, '>=', 22, "$library: events");
	is_deeply(\@stored, \@expected, "$library: all that was not rolled back, as it was meant, in order, with the ids that the objects have");
	is(query("SELECT count(*) FROM app.orders WHERE item = 'never'"), 0, "$library: as its other rows");
}

$node->stop;
done_testing();
