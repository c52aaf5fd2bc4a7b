# A subscription whose brokers refuse its login, or whose brokers it does not
# trust: the same states and words as a relay's, and it goes on where it was once
# the settings are right, without a restart.
#
# Catches: a subscriber that hammers a broker that refuses its login, shows
# another state or none, stays with settings that a reload has corrected, or
# tells a secret.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Secured;
use PostgreSQL::Test::Utils;
use Test::More;

if (my $why = OutboxTest::Secured->skip_reason)
{
	plan skip_all => $why;
}

my $jaas = 'org.apache.kafka.common.security';
my $secured = OutboxTest::Secured->new(
	listeners => { sasl => 'SASL_SSL' },
	settings => {
		'sasl.enabled.mechanisms' => 'PLAIN',
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  "$jaas.plain.PlainLoginModule required user_me=\"hush-plain\";",
	});
my $node = $secured->node;
my $taken = 0;
$secured->made->authority('stranger');

sub properties
{
	my ($authority, $password) = @_;

	return ('sasl', 'security.protocol=sasl_ssl', $secured->trusting($authority),
		'sasl.mechanism=PLAIN', 'sasl.username=me', "sasl.password=$password");
}

# It is in that state and, if it works, reads what is published now.
sub is_in
{
	my ($state, $what) = @_;
	my $found = q{SELECT state FROM outbox.stat_subscription};

	eval { wait_until(undef, sub { query($found) eq $state }, $what) };
	is(query($found), $state, $what);
	return unless $state eq 'consuming';
	kcat($secured->kafka->bootstrap, "x\n", qw(-P -t t));
	$taken++;
	wait_until(undef, sub { query('SELECT count(*) FROM taken') == $taken }, "$what: read");
	return;
}

$node->safe_psql('postgres', <<~'END');
	CREATE TABLE taken (message text);
	CREATE FUNCTION take(m outbox.message) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO public.taken VALUES (m.message_id) $$;
	END
query(q{SELECT outbox.subscribe('it', '{t}', 'take(outbox.message)', start => 'earliest')});
is_in('unconfigured', 'without settings');
$secured->use_properties(properties('ca', 'hush-wrong'));
is_in('unauthenticated', 'a wrong password');
$secured->use_properties(properties('ca', 'hush-plain'));
is_in('consuming', 'the right one');
$secured->use_properties(properties('stranger', 'hush-plain'));
is_in('untrusted', 'another authority');
$secured->use_properties(properties('ca', 'hush-plain'));
is_in('consuming', 'the right one');

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
like($log, qr/subscriber "it"[^\n]*-> unauthenticated\n[^\n]*Kafka refuses our credentials/,
	'the words of a relay');
unlike($log, qr/hush-/, 'and no secret');
is(query('SELECT count(*), count(DISTINCT message) FROM taken'), "$taken|$taken", 'each once');

$node->stop;
$secured->kafka->stop;
done_testing();
