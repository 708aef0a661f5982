# A worker: perl worker.pl FUNCTION..., each one of those below.

use strict;
use warnings;
use Gearman::Worker;
use Time::HiRes;

my $worker = Gearman::Worker->new(job_servers => ["127.0.0.1:$ENV{GEARMAN_PORT}"]);

my %functions = (
    echo    => sub { $_[0]->arg },
    reverse => sub { scalar reverse $_[0]->arg },
    size    => sub { length($_[0]->arg) . ' bytes' },
    empty   => sub { '' },
    zero    => sub { '0' },

    # Appends the payload's second line to the file named by its first.
    note => sub {
        my ($path, $text) = split /\n/, $_[0]->arg;
        open my $file, '>>', $path or die "$path: $!";
        print $file $text;
        close $file;
        return 'noted';
    },

    # Runs until the file named by the payload exists; says 3/7 meanwhile.
    hold => sub {
        my ($job) = @_;
        $job->set_status(3, 7);
        Time::HiRes::sleep(0.005) until -e $job->arg;
        return 'released';
    },
    progress => sub {
        my ($job) = @_;
        $job->set_status($_, 3) for 1 .. 3;
        return 'arrived';
    },

    # The library warns of the missing denominator and sends an empty one.
    set_status_with_one_number => sub {
        my ($job) = @_;
        local $SIG{__WARN__} = sub { };
        $job->set_status(5);
        return 'arrived';
    },

    # This call of the library leaves the denominator out, with its separator.
    send_work_status => sub {
        my ($job) = @_;
        $worker->send_work_status($job, 5, 9);
        return 'arrived';
    },
    data => sub {
        my ($job) = @_;
        $worker->send_work_data($job, $_) for 'one', "two\0", 'three';
        return 'end';
    },
    warning => sub {
        my ($job) = @_;
        $worker->send_work_warning($job, 'careful');
        return 'done all the same';
    },

    # The library sends WORK_EXCEPTION and then WORK_FAIL.
    dying => sub {
        local $SIG{__WARN__} = sub { };
        die "boom\n";
    },
    exception => sub {
        my ($job) = @_;
        $worker->send_work_exception($job, 'boom');
        return;
    },
    fail => sub { undef },
);

$SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /^Job '\w+' died: boom/ };
$worker->register_function($_ => $functions{$_} // die "no function $_") for @ARGV;
$worker->work;
