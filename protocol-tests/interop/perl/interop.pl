# Gearman::Client and Gearman::Worker. Each function below is one check; it returns a reason if it was left out.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Storable;
use Support;

sub foreground {
    my $worker = worker('reverse');
    for my $priority (qw(high normal low)) {
        my $result = client()->do_task(reverse => 'hello', { priority => $priority });
        same('olleh', $$result, $priority);
    }
    return;
}

sub background {
    my $worker = worker('note');
    my $client = client();
    for my $priority (qw(high normal low)) {
        my $file   = fresh_path();
        my $task   = Gearman::Task->new(note => \"$file\nx", { priority => $priority });
        my $handle = $client->dispatch_background($task);
        wait_until { !$client->get_status($handle)->known } 'the server has forgotten the finished job';
        same('x', contents($file), "the file written by a $priority job");
    }
    return;
}

sub priorities {
    my $client = client();
    my $file   = fresh_path();
    my @orders = ([low => 3], [normal => 2], [high => 1]);
    $client->dispatch_background(note => "$file\n$$_[1]", { priority => $$_[0] }) for @orders;
    same(3, queue('note')->{queued}, 'queued jobs');
    my $worker = worker('note');
    wait_until { queue('note')->{queued} == 0 } 'all jobs are done';
    same('123', contents($file), 'order of background jobs');

    undef $worker;
    my $tasks = $client->new_task_set;
    my $order = '';
    for (@orders) {
        my ($priority, $text) = @$_;
        $tasks->add_task(reverse => $text, { priority => $priority, on_complete => sub { $order .= ${ $_[0] } } });
    }
    $worker = worker('reverse');
    $tasks->wait;
    same('123', $order, 'order of tasks');
    return;
}

# Runs one task and returns what each callback saw, in order.
sub events {
    my ($client, $function, @options) = @_;
    my @seen;
    my $tasks = $client->new_task_set;
    $tasks->add_task(
        $function => 'x',
        {
            on_status    => sub { push @seen, "status $_[0]/" . ($_[1] // '') },
            on_data      => sub { push @seen, "data ${ $_[0] }" },
            on_warning   => sub { push @seen, "warning ${ $_[0] }" },
            on_complete  => sub { push @seen, "complete ${ $_[0] }" },
            on_exception => sub { push @seen, "exception $_[0]" },
            on_fail      => sub { push @seen, 'fail' },
            on_retry     => sub { push @seen, "retry $_[0]" },
            @options,
        }
    );
    $tasks->wait;
    return \@seen;
}

sub progress {
    my $worker = worker('progress');
    same(['status 1/3', 'status 2/3', 'status 3/3', 'complete arrived'], events(client(), 'progress'), 'events');
    return;
}

sub set_status_with_one_number {
    my $worker = worker('set_status_with_one_number');
    same(['status 5/', 'complete arrived'], events(client(), 'set_status_with_one_number'), 'events');
    return;
}

sub send_work_status {
    return 'gearmand W17' if GEARMAND;
    my $worker = worker('send_work_status');
    my ($status, @rest) = @{ events(client(), 'send_work_status') };
    same('status 5', $status =~ s{/.*}{}r, 'numerator');
    same(['complete arrived'], \@rest, 'other events');
    return;
}

sub data {
    my $worker = worker('data');
    same(['data one', "data two\0", 'data three', 'complete end'], events(client(), 'data'), 'events');
    return;
}

sub warning {
    my $worker = worker('warning');
    same(['warning careful', 'complete done all the same'], events(client(), 'warning'), 'events');
    return;
}

sub exception {
    my $worker = worker('exception');
    same(['exception boom'], events(client(exceptions => 1), 'exception'), 'events');
    return;
}

# WORK_EXCEPTION and then WORK_FAIL: the second must harm neither the client nor the worker.
sub dying_worker_function {
    return 'gearmand W6' if GEARMAND;
    my $worker = worker(qw(dying reverse));
    my $thaw   = sub { ${ Storable::thaw($_[0]) } };
    for (1 .. 3) {
        my $seen;
        my $events = events(client(exceptions => 1), 'dying', on_exception => sub { $seen = $thaw->($_[0]) });
        same([], $events, 'events beside the exception');
        same("boom\n", $seen, 'exception');
        same('olleh', ${ client()->do_task(reverse => 'hello') }, 'the next job');
    }
    return;
}

sub exception_without_option {
    return 'gearmand W6' if GEARMAND;
    my $worker = worker(qw(exception dying));
    same(['fail'], events(client(), 'exception'), 'events');
    same(['fail'], events(client(), 'dying'), 'events of a function that died');
    return;
}

sub fail {
    my $worker = worker('fail');
    same(['fail'], events(client(), 'fail'), 'events');
    same(['retry 1', 'retry 2', 'fail'], events(client(), 'fail', retry_count => 2), 'events with retries');
    same('undef', client()->do_task(fail => 'x'), 'result of do_task');
    return;
}

sub unique {
    my $client = client();
    for my $id ('same', '-') { # '-': the payload is the id
        my $file    = fresh_path();
        my $tasks   = $client->new_task_set;
        my $results = 0;
        my @handles = map { $tasks->add_task(note => "$file\nx", { uniq => $id, on_complete => sub { $results++ } }) }
            1 .. 2;
        my $worker = worker('note');
        $tasks->wait;
        same($handles[0], $handles[1], 'handles');
        same(2,   $results,        "results with id '$id'");
        same('x', contents($file), "what ran with id '$id'");
    }
    return;
}

sub status {
    my $worker  = worker('hold');
    my $client  = client();
    my $file    = fresh_path();
    my $handle  = $client->dispatch_background(hold => $file);
    my $status;
    wait_until { $status = $client->get_status($handle); $status->running && $status->progress->[0] }
    'the status is running with progress';
    same(1,      $status->known,    'known');
    same([3, 7], $status->progress, 'progress');
    same(3 / 7,  $status->percent,  'percent');
    touch($file);
    wait_until { !$client->get_status($handle)->known } 'the job has ended';
    same(0, $client->get_status($handle)->running, 'running');
    return;
}

sub status_by_unique {
    return 'the library has no call for it';
}

sub payloads {
    my $worker = worker(qw(echo size));
    my $client = client();
    my $block  = join '', map { chr } 0 .. 255;
    my $all    = join '', map { pack('N', $_) . $block } 0 .. (20 << 20) / 256; # numbered: a lost piece shows
    same('0 bytes', ${ $client->do_task(size => '') }, 'an empty payload');
    for my $size (1, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 20 << 20) {
        my $payload = substr $all, 0, $size;
        my $result  = $client->do_task(echo => \$payload);
        same($payload, $$result, "$size bytes");
    }
    return;
}

# The worker then sends WORK_COMPLETE with the handle only; it must not run the job again.
sub empty_results {
    return 'gearmand W17' if GEARMAND;
    my $worker = worker(qw(empty zero echo reverse));
    my $client = client();
    same('', ${ $client->do_task(empty => 'x') }, 'empty result');
    same('', ${ $client->do_task(zero  => 'x') }, 'result 0, which the library sends as an empty one');
    same('', ${ $client->do_task(echo  => '') },  'empty payload, empty result');
    same('olleh', ${ $client->do_task(reverse => 'hello') }, 'the next job');
    return;
}

sub worker_dies {
    my $file   = fresh_path();
    my $worker = worker('hold');
    my $begun  = 0;
    my $next   = sub {
        if (++$begun == 1) {
            $worker->kill;
            $worker = worker('hold');
        }
        else {
            touch($file);
        }
    };
    my $result = client()->do_task(hold => $file, { on_status => $next });
    same('released', $$result, 'result');
    same(2, $begun, 'workers that had begun');
    return;
}

sub reconnect {
    my $worker = worker('reverse');
    my $client = client();
    same('olleh', ${ $client->do_task(reverse => 'hello') }, 'before');
    restart_server();

    # The library tells of the lost connection once, then connects again.
    my $result;
    wait_until { $result = eval { $client->do_task(reverse => 'hello', { timeout => 15 }) } } 'client and worker are back';
    same('olleh', $$result, 'afterwards');
    return;
}

run_checks(
    foreground                 => \&foreground,
    background                 => \&background,
    priorities                 => \&priorities,
    progress                   => \&progress,
    set_status_with_one_number => \&set_status_with_one_number,
    send_work_status           => \&send_work_status,
    data                       => \&data,
    warning                    => \&warning,
    exception                  => \&exception,
    dying_worker_function      => \&dying_worker_function,
    exception_without_option   => \&exception_without_option,
    fail                       => \&fail,
    unique                     => \&unique,
    status                     => \&status,
    status_by_unique           => \&status_by_unique,
    payloads                   => \&payloads,
    empty_results              => \&empty_results,
    worker_dies                => \&worker_dies,
    reconnect                  => \&reconnect,
);
