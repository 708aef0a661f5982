<?php
// php-gearman as a worker or a client of the load. README.md tells what the words and lines mean.

[, $role, $host, $port, $journal] = $argv;
$journal = fopen($journal, 'a');

// PHP does not buffer plain files: what was written before a SIGKILL stays.
function note(string $lines): void
{
    global $journal;
    if (fwrite($journal, $lines) !== strlen($lines)) {
        exit(1);
    }
}

function work(string $host, int $port, array $functions): void
{
    $worker = new GearmanWorker();
    $worker->addServer($host, $port);
    foreach ($functions as $function) {
        $worker->addFunction($function, function (GearmanJob $job): string {
            [$id, $milliseconds] = explode(' ', $job->workload(), 3);
            note("s $id\n");
            usleep((int) $milliseconds * 1000);
            note("e $id\n");
            return "done $id";
        });
    }
    while ($worker->work());
    fwrite(STDERR, $worker->error() . "\n");
    exit(1);
}

function submit(string $host, int $port, string $plan): void
{
    $add = [
        'fh' => 'addTaskHigh', 'fn' => 'addTask', 'fl' => 'addTaskLow',
        'bh' => 'addTaskHighBackground', 'bn' => 'addTaskBackground', 'bl' => 'addTaskLowBackground',
    ];
    $client = new GearmanClient();
    $client->addServer($host, $port);
    // The context is an object: PHP's extension keeps a reference to it.
    $client->setCreatedCallback(fn (GearmanTask $task, object $job) => note("a $job->id {$task->jobHandle()}\n"));
    $client->setCompleteCallback(fn (GearmanTask $task, object $job) => note("d $job->id {$task->data()}\n"));
    $client->setFailCallback(fn (GearmanTask $task, object $job) => note("f $job->id\n"));
    foreach (explode("\n\n", trim(file_get_contents($plan))) as $batch) {
        $jobs = array_map(fn (string $line) => explode(' ', $line), explode("\n", $batch));
        note(implode('', array_map(fn (array $job) => "+ $job[0]\n", $jobs)));
        foreach ($jobs as [$id, $mode, $priority, $function, $unique, $milliseconds, $padding]) {
            $payload = "$id $milliseconds " . str_repeat('x', (int) $padding);
            $client->{$add["$mode$priority"]}($function, $payload, (object) ['id' => $id], $unique === '-' ? null : $unique);
        }
        if (!$client->runTasks()) {
            fwrite(STDERR, $client->error() . "\n");
            exit(1);
        }
    }
    note(".\n");
}

if ($role === 'worker') {
    work($host, (int) $port, array_slice($argv, 5));
} else {
    submit($host, (int) $port, $argv[5]);
}
