package Support;

# What the checks share: clients, worker processes, awaited conditions, and the report.

use strict;
use warnings;
use Exporter 'import';
use File::Temp;
use FindBin;
use Gearman::Client;
use IO::Socket::IP;
use Time::HiRes;

our @EXPORT = qw(client worker queue wait_until restart_server fresh_path contents touch same run_checks GEARMAND);

use constant GEARMAND => $ENV{TARGET} eq 'gearmand';
use constant PATIENCE => 20; # seconds that any awaited thing may take

my $directory = File::Temp->newdir;

sub client {
    my %options = @_;
    return Gearman::Client->new(job_servers => ["127.0.0.1:$ENV{GEARMAN_PORT}"], %options);
}

# A worker.pl process that serves the named functions of that file; gone, it is killed as by kill -9.
sub worker {
    my @functions = @_;
    my $pid = fork // die "fork: $!";
    exec $^X, "$FindBin::Bin/worker.pl", @functions or die "exec: $!" if $pid == 0;
    return bless { pid => $pid, owner => $$ }, 'Support::Worker';
}

sub Support::Worker::kill {
    my ($self) = @_;
    my $pid = delete $self->{pid} // return;
    local $?; # an exit code may be on its way
    kill KILL => $pid;
    waitpid $pid, 0;
}

sub Support::Worker::DESTROY {
    my ($self) = @_;
    $self->kill if $self->{owner} == $$;
}

# Queued (running ones included), running, and capable workers of a function, by the library's own call.
sub queue {
    my ($function) = @_;
    my ($status) = values %{ client()->get_job_server_status };
    return $status->{$function} // { queued => 0, running => 0, capable => 0 };
}

sub wait_until(&$) {
    my ($condition, $what) = @_;
    my $end = Time::HiRes::time() + PATIENCE;
    until ($condition->()) {
        die "waited in vain until $what\n" if Time::HiRes::time() > $end;
        Time::HiRes::sleep(0.005);
    }
}

# Kills the server and starts it again.
sub restart_server {
    my $control = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $ENV{CONTROL_PORT})
        // die "no control socket: $@";
    print $control "restart\n";
    same("ok\n", scalar <$control>, 'answer to restart');
}

# A path that does not exist yet.
sub fresh_path {
    my $number = our $last_path++;
    return "$directory/$number";
}

sub contents {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    local $/;
    return scalar <$file>;
}

sub touch {
    my ($path) = @_;
    open my $file, '>', $path or die "$path: $!";
}

# Compares strings, or lists of strings.
sub same {
    my ($expected, $actual, $what) = @_;
    ($expected, $actual) = map { ref ? join(', ', map { $_ // 'undef' } @$_) : $_ // 'undef' } $expected, $actual;
    return if $expected eq $actual;
    my ($e, $a) = map { length > 200 ? length($_) . ' bytes' : "'$_'" } $expected, $actual;
    die "$what: expected $e, not $a\n";
}

# Runs pairs of a name and a check, which returns a reason if it was left out; reports; exits.
sub run_checks {
    my $failed = 0;
    $| = 1;
    while (my ($name, $check) = splice @_, 0, 2) {
        my $left_out;
        if (eval { $left_out = $check->(); 1 }) {
            print $left_out ? "n/a $name: $left_out\n" : "ok $name\n";
        }
        else {
            print "FAILED $name: $@\n";
            $failed = 1;
        }
    }
    exit $failed;
}

1;
