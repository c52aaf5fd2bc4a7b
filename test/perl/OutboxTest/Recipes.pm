package OutboxTest::Recipes;

# The files in doc/recipes.md: blocks of code whose first line is a comment with
# the name of a file. So what is run is what is read there.

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils ();

my $top = abs_path(dirname(__FILE__) . '/../../..');
my %files;

sub _read
{
	my $text = PostgreSQL::Test::Utils::slurp_file("$top/doc/recipes.md");

	while ($text =~ m{^```\w+\n((?://|#|--) ([\w/]+\.\w+)\n.*?)^```$}msg)
	{
		croak "two files are called $2" if exists $files{$2};
		$files{$2} = $1;
	}
	return;
}

# The names of all files.
sub names
{
	_read() unless %files;
	return sort keys %files;
}

# The contents of one.
sub content
{
	my ($name) = @_;

	_read() unless %files;
	return $files{$name} // croak "doc/recipes.md has no $name";
}

# Writes these files into a directory.
sub write_into
{
	my ($dir, @names) = @_;

	for my $name (@names)
	{
		make_path(dirname("$dir/$name"));
		open(my $file, '>', "$dir/$name") or croak "$dir/$name: $!";
		print $file content($name);
		close($file) or croak "$dir/$name: $!";
	}
	return;
}

# The directory of the programs that run them.
sub programs { return "$top/test/orm"; }

1;
