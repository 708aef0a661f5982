# Gearman::Client and Gearman::Worker as a worker or a client of the load. README.md tells what the words and lines mean.

use strict;
use warnings;

use Gearman::Client;
use Gearman::Task;
use Gearman::Worker;

my ($role, $host, $port, $journal, @rest) = @ARGV;
open(my $lines, '>>', $journal) or die "$journal: $!\n";

$role eq 'worker' ? work(@rest) : submit(@rest);

# syswrite does not buffer: what was written before a SIGKILL stays.
sub note {
    my ($text) = @_;
    (syswrite($lines, $text) // -1) == length $text or die "$journal: $!\n";
}

sub work {
    my $worker = Gearman::Worker->new(job_servers => ["$host:$port"]);
    for my $function (@_) {
        $worker->register_function(
            $function => sub {
                my ($id, $milliseconds) = split / /, $_[0]->arg, 3;
                note("s $id\n");
                select(undef, undef, undef, $milliseconds / 1000) if $milliseconds;
                note("e $id\n");
                return "done $id";
            }
        );
    }
    $worker->work while 1;
}

sub submit {
    my ($plan) = @_;
    my $client = Gearman::Client->new(job_servers => ["$host:$port"]);
    open(my $planned, '<', $plan) or die "$plan: $!\n";
    local $/ = "\n\n";
    while (my $batch = <$planned>) {
        my @jobs = map { [split / /] } split /\n/, $batch;
        note(join '', map {"+ $_->[0]\n"} @jobs);
        my $tasks = $client->new_task_set;
        submit_one($client, $tasks, @$_) for @jobs;
        $tasks->wait;
    }
    note(".\n");
}

sub submit_one {
    my ($client, $tasks, $id, $mode, $priority, $function, $unique, $milliseconds, $padding) = @_;
    my $payload = "$id $milliseconds " . 'x' x $padding;
    my $task = Gearman::Task->new(
        $function,
        \$payload,
        {   high_priority => $priority eq 'h',
            uniq          => $unique eq '-' ? undef : $unique,
            on_complete   => sub { note("d $id ${$_[0]}\n") },
            on_fail       => sub { note("f $id\n") },
        }
    );
    my $handle = $mode eq 'b' ? $client->dispatch_background($task) : $tasks->add_task($task);
    die "$id was not accepted\n" unless $handle;
    note("a $id " . $handle =~ s{.*//}{}r . "\n");
}
