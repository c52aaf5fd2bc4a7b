package OutboxTest::Certificates;

# Certificates made by openssl, in PEM files of a directory: NAME.pem, NAME.key,
# and NAME.both, which has the key before the certificate, as Kafka wants it.
#
#	my $made = OutboxTest::Certificates->new;
#	$made->authority('ca');
#	$made->certificate('broker', host => 'localhost');
#	$made->certificate('old', host => 'localhost', expired => 1);

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);

# Why there are none for this test, or undef if there can be
sub skip_reason
{
	return system('openssl version >/dev/null 2>&1') == 0
	  ? undef
	  : 'there is no openssl';
}

sub new
{
	my ($class) = @_;

	return bless { dir => PostgreSQL::Test::Utils::tempdir('tls') }, $class;
}

sub dir { return $_[0]->{dir}; }

sub _openssl
{
	my ($err, $out);

	IPC::Run::run([ 'openssl', @_ ], '>', \$out, '2>', \$err)
	  or die "openssl @_: $err";
	return;
}

my @new_key = qw(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes);

sub _write_both
{
	my ($self, $name) = @_;
	my $path = "$self->{dir}/$name";

	unlink "$path.both";
	append_to_file("$path.both", slurp_file("$path.key") . slurp_file("$path.pem"));
	return;
}

# Encrypts the key of one, and puts both into NAME.p12, too.
sub protect
{
	my ($self, $name, $password) = @_;
	my $path = "$self->{dir}/$name";

	_openssl(qw(pkcs12 -export), '-inkey', "$path.key", '-in', "$path.pem",
		'-passout', "pass:$password", '-out', "$path.p12");
	_openssl('pkey', '-in', "$path.key", '-aes256', '-passout', "pass:$password",
		'-out', "$path.new");
	rename "$path.new", "$path.key" or die "rename: $!";
	return;
}

# One that signs itself
sub authority
{
	my ($self, $name) = @_;
	my $path = "$self->{dir}/$name";

	_openssl(
		qw(req -x509 -days 2), @new_key, '-subj', "/CN=$name",
		'-addext', 'subjectAltName=DNS:localhost',
		'-keyout', "$path.key", '-out', "$path.pem");
	return $self->_write_both($name);
}

# One that an authority has signed: authority => 'ca', host, expired => 0. With
# the same name again, it is renewed.
sub certificate
{
	my ($self, $name, %opt) = @_;
	my $authority = "$self->{dir}/" . ($opt{authority} // 'ca');
	my $path = "$self->{dir}/$name";

	unlink "$path.conf";
	append_to_file("$path.conf", "subjectAltName=DNS:$opt{host}\n");
	append_to_file("$authority.index", '');
	append_to_file("$authority.conf", <<~END) unless -e "$authority.conf";
		[ca]
		default_ca = our
		[our]
		database = $authority.index
		serial = $authority.serial
		new_certs_dir = $self->{dir}
		default_md = sha256
		unique_subject = no
		policy = any
		[any]
		commonName = supplied
		END
	_openssl('req', @new_key, '-subj', "/CN=$opt{host}",
		'-keyout', "$path.key", '-out', "$path.csr");
	_openssl(
		qw(ca -batch -notext -create_serial), '-config', "$authority.conf",
		'-cert', "$authority.pem", '-keyfile', "$authority.key",
		'-extfile', "$path.conf", '-in', "$path.csr", '-out', "$path.pem",
		$opt{expired}
		? qw(-startdate 20200101000000Z -enddate 20200102000000Z)
		: qw(-days 2));
	return $self->_write_both($name);
}

1;
