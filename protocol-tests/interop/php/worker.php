<?php
// A worker: php worker.php FUNCTION…, each one of those below.

function echo_back(GearmanJob $job): string
{
    return $job->workload();
}

function nothing(GearmanJob $job): string
{
    return '';
}

function reverse(GearmanJob $job): string
{
    return strrev($job->workload());
}

/** Appends the payload's second line to the file named by its first. */
function note(GearmanJob $job): string
{
    [$file, $text] = explode("\n", $job->workload());
    file_put_contents($file, $text, FILE_APPEND);
    return '';
}

/** Runs until the file named by the payload exists; says 3/7 meanwhile. */
function hold(GearmanJob $job): string
{
    $job->sendStatus(3, 7);
    while (!file_exists($job->workload())) {
        clearstatcache();
        usleep(5000);
    }
    return 'released';
}

function progress(GearmanJob $job): string
{
    for ($step = 1; $step <= 3; $step++) {
        $job->sendStatus($step, 3);
    }
    return 'arrived';
}

function data(GearmanJob $job): string
{
    foreach (['one', "two\0", 'three'] as $chunk) {
        $job->sendData($chunk);
    }
    return 'end';
}

function warning(GearmanJob $job): string
{
    $job->sendWarning('careful');
    return 'done all the same';
}

function exception(GearmanJob $job): void
{
    $job->sendException('boom');
}

function fail(GearmanJob $job): void
{
    $job->sendFail();
}

$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) getenv('GEARMAN_PORT'));
foreach (array_slice($argv, 1) as $function) {
    $worker->addFunction($function, $function);
}
while (true) {
    if (!@$worker->work()) {
        usleep(20000); // the server is away; work() connects again
    }
}
