# What a newcomer reads is so: the SQL of README.md and doc/ runs as it stands
# there, one block after another, and the tables of functions, columns and
# settings are those of the server.
#
# Catches: an example that fails; a function with other arguments; a column, a
# setting or its default that has changed, or that the text leaves out.

use strict;
use warnings;

use FindBin;
use OutboxTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $readme = slurp_file("$top/README.md") . slurp_file("$top/doc/reference.md");
my $mock = OutboxTest::Mock->new(topics => { map { $_ => 1 } qw(payments orders orders-repair customers outbox.event.order) });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap);

# The blocks of SQL, without the indentation that they have in a list.
sub examples
{
	my ($text) = @_;
	my @blocks;

	while ($text =~ /^( *)```sql\n(.*?)^\1```$/msg)
	{
		my ($indent, $sql) = ($1, $2);

		$sql =~ s/^$indent//mg;
		push @blocks, $sql;
	}
	return @blocks;
}

# The lines of a Markdown table, as lists of cells, from the first after the
# text on.
sub table_after
{
	my ($text) = @_;

	$readme =~ /\Q$text\E.*?\n((?:\|[^\n]*\n)+)/s or die "no table after $text";
	my (undef, undef, @lines) = split /\n/, $1;
	return map { [ map { s/^ | $//gr } (split / ?\|(?![^`]*`[^`|]*\|)/)[ 1 .. 3 ] ] } @lines;
}

# 65536 and kB, or 64 and MB, in the smallest unit
sub plain
{
	my ($value, $unit) = @_;
	my %factor = (B => 1, kB => 1024, MB => 1024**2, ms => 1, s => 1000, min => 60_000, h => 3_600_000,
		d => 86_400_000);

	return -1 if $value eq '-1';    # never, in any unit
	return $value * $factor{ $unit || 'B' } if $value =~ /^-?[\d.]+$/;
	return $value;
}

note 'examples';
my @blocks = map { examples($_) } $readme, map { slurp_file("$top/doc/$_.md") } qw(operations tracing subscriptions);
cmp_ok(@blocks, '>', 5, 'there are some');
query('CREATE ROLE my_application');
query('CREATE TABLE account (id bigint, balance bigint)');
# what the title shows is done after the installation, of course
for my $sql ((grep { /CREATE EXTENSION/ } @blocks), grep { !/CREATE EXTENSION/ } @blocks)
{
	my ($status, undef, $errors) = $node->psql('postgres', $sql);

	ok($status == 0 && $errors eq '', (split /\n/, $sql)[0]) or diag $errors;
}
ok(wait_published($node), 'what they emit is published');
$consumer->drain or die 'not read';
is(join(' ', sort map { "$_->{topic} $_->{key}" } grep { $_->{topic} ne 'orders-repair' } $consumer->records),
	'customers 7 failed-orders 4713 orders 4711 orders 4711 outbox.event.order 4711 payments 42 payments 42 payments 42', 'and nothing that rolls back');

note 'functions';
my %described;
while ($readme =~ /^\| `([a-z._]+)\(([^`]*)\)` → /mg)
{
	my ($name, $arguments) = ($1, $2);

	$described{$name} = $arguments =~ s/ DEFAULT [^,]*//gr unless $arguments eq '…';
}
for my $line (split /\n/, query(<<~'END'))
	SELECT DISTINCT ON (1) replace(n.nspname || '.', 'public.', '') || p.proname,
		(SELECT coalesce(string_agg(a.name || ' ' || format_type(a.type, NULL), ', ' ORDER BY a.n), '')
		 FROM unnest(p.proargnames, p.proargtypes::oid[]) WITH ORDINALITY a (name, type, n)
		 WHERE a.type IS NOT NULL)
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
	WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'outbox')
	ORDER BY 1, (SELECT count(*) FROM unnest(p.proargtypes) t WHERE t = '"any"'::regtype) DESC
	END
{
	my ($name, $arguments) = split /\|/, $line, 2;
	my $short = $arguments =~ s/timestamp with time zone/timestamptz/gr;

	ok($readme =~ /`\Q$name\E\(/, $name);
	is($described{$name}, $short, "its arguments") if defined $described{$name};
}
cmp_ok(scalar keys %described, '>=', 9, 'there are some');

note 'columns';
for my $view (split /\n/, query(<<~'END'))
	SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
	WHERE relkind = 'v' AND obj_description(c.oid, 'pg_class') NOT LIKE 'Internal:%' ORDER BY 1
	END
{
	my @names = map { $_->[0] =~ /`(\w+)`/g } table_after("\n`$view`, a row for");

	is(join(' ', sort @names), query(<<~END), $view);
		SELECT string_agg(attname, ' ' ORDER BY attname COLLATE "C") FROM pg_attribute
		WHERE attrelid = '$view'::regclass AND attnum > 0
		END
}
my $columns = query(<<~'END');
	SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
	WHERE attrelid = 'outbox.event'::regclass AND attnum > 0 AND NOT attisdropped
	END
ok($readme =~ /`outbox.event` \|[^|]*`$columns`/, 'outbox.event');

note 'settings';
my %default;
for my $line (map { table_after($_) } '**You must set:**', '**You may need', '**You can leave alone:**',
	q{**In the application's transaction**}, '**From when on `outbox.health()` warns')
{
	# two in one line: their defaults are "1 s / 2 s"
	my @names = $line->[0] =~ /`(outbox\.\w+)`/g;

	@default{@names} = @names > 1 ? split(m{ / }, $line->[1]) : $line->[1];
}
my %settings = map { my ($name, @rest) = split /\|/, $_, -1; ($name => \@rest) } split /\n/,
  query(q(SELECT name, boot_val, unit FROM pg_settings WHERE name LIKE 'outbox.%'));
is_deeply([ sort keys %default ], [ sort keys %settings ], 'all are there');
for my $name (sort keys %settings)
{
	my ($value, $unit) = split / /, $default{$name};

	is(plain($value eq 'empty' ? '' : $value, $unit), plain(@{ $settings{$name} }), $name);
}

done_testing();
