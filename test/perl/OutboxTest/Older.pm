package OutboxTest::Older;

# A PostgreSQL in which an older version of the extension can be created, and
# updated: a copy of the installed one, in a directory of the test's, with the
# scripts of test/upgrade beside those that are installed.
#
#	my $node = outbox_node('main', install_path => older_install_path());

use strict;
use warnings;

use Cwd qw(realpath);
use Exporter 'import';
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils ();

our @EXPORT = qw(older_version older_install_path);

my $older = '0.9';
my $top = realpath(dirname(__FILE__) . '/../../..');

sub older_version { return $older; }

sub _config
{
	my ($what) = @_;

	chomp(my $value = qx(pg_config --$what));
	return realpath($value);
}

# Everything of one directory in another, by symbolic links.
sub _link_all
{
	my ($from, $to) = @_;

	make_path($to);
	for my $file (glob "$from/*")
	{
		symlink $file, "$to/" . substr($file, 1 + length $from)
		  or die "$file: $!";
	}
	return;
}

# The server finds its files by the way from its program to them, without links.
sub _copy_instead
{
	for my $file (@_)
	{
		my $target = readlink $file or die "$file: $!";

		unlink $file;
		copy($target, $file) or die "$file: $!";
		chmod 0755, $file;
	}
	return;
}

sub _build
{
	my ($file, $what, $version, $part) = @_;

	unlink $file;
	system("'$top/sql/build' $what $version '$top/test/upgrade/$part' >'$file'") == 0
	  or die "sql/build failed";
	return;
}

# The directory above bin of such a PostgreSQL.
sub older_install_path
{
	my $dir = realpath(PostgreSQL::Test::Utils::tempdir('older'));
	my ($bin, $lib, $share) = map { _config($_) } qw(bindir pkglibdir sharedir);
	my ($version) =
	  PostgreSQL::Test::Utils::slurp_file("$share/extension/outbox.control") =~
	  /^default_version = '(.*)'/m;
	my $to = "$dir$share/extension";

	_link_all($bin, "$dir$bin");
	_copy_instead(map { "$dir$bin/$_" } qw(postgres initdb pg_ctl));
	make_path(dirname("$dir$lib"));
	symlink $lib, "$dir$lib" or die "$lib: $!";
	_link_all($share, "$dir$share");
	unlink $to;
	_link_all("$share/extension", $to);

	_build("$to/outbox--$older.sql", 'install', $older, "back_to_$older.sql");
	_build("$to/outbox--$older--$version.sql", 'update', $version, "$older--$version.sql");
	return dirname("$dir$bin");
}

1;
