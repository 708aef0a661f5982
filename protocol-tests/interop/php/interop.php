<?php
// php-gearman as client and worker. Each function below is one check; it returns a reason if it was left out.

require __DIR__ . '/support.php';

function foreground(): void
{
    $worker = new Worker('reverse');
    $client = client();
    foreach (['doNormal', 'doHigh', 'doLow'] as $call) {
        same('olleh', $client->$call('reverse', 'hello'), $call);
        same(GEARMAN_SUCCESS, $client->returnCode(), $call);
    }
}

function ping(): void
{
    same(true, client()->ping("any\0bytes"));
}

function background(): void
{
    $worker = new Worker('note');
    $client = client();
    foreach (['doBackground', 'doHighBackground', 'doLowBackground'] as $call) {
        $file = fresh_path();
        $handle = $client->$call('note', "$file\nx");
        same(GEARMAN_SUCCESS, $client->returnCode(), $call);
        wait_until(fn () => !$client->jobStatus($handle)[0], 'the server has forgotten the finished job');
        same('x', file_get_contents($file), "the file written by a $call job");
        unlink($file);
    }
}

function priorities(): void
{
    $client = client();
    $file = fresh_path();
    $client->doLowBackground('note', "$file\n3");
    $client->doBackground('note', "$file\n2");
    $client->doHighBackground('note', "$file\n1");
    $worker = new Worker('note');
    wait_until_queued('note', 0);
    same('123', file_get_contents($file), 'order of background jobs');
    unlink($file);
}

function priorities_of_tasks(): void
{
    $client = client();
    $created = 0;
    $order = '';
    $client->setCreatedCallback(function () use (&$created, &$worker) {
        if (++$created === 3) {
            $worker = new Worker('reverse');
        }
    });
    $client->setCompleteCallback(function (GearmanTask $task) use (&$order) {
        $order .= $task->data();
    });
    $client->addTaskLow('reverse', '3');
    $client->addTask('reverse', '2');
    $client->addTaskHigh('reverse', '1');
    same(true, $client->runTasks());
    same('123', $order);
}

function background_tasks(): void
{
    $client = client();
    $file = fresh_path();
    $handles = [];
    $client->setCreatedCallback(function (GearmanTask $task) use (&$handles) {
        $handles[] = $task->jobHandle();
    });
    $client->addTaskLowBackground('note', "$file\n3");
    $client->addTaskBackground('note', "$file\n2");
    $client->addTaskHighBackground('note', "$file\n1");
    same(true, $client->runTasks());
    same(3, count(array_unique($handles)), 'number of different handles');
    $worker = new Worker('note');
    wait_until_queued('note', 0);
    same('123', file_get_contents($file));
    unlink($file);
}

const KINDS = ['data', 'warning', 'complete', 'exception', 'fail'];

/** Runs one task and returns what each callback saw, in order. */
function events(GearmanClient $client, string $function, array $kinds = KINDS): array
{
    $seen = [];
    $client->setStatusCallback(function (GearmanTask $task) use (&$seen) {
        $seen[] = "status {$task->taskNumerator()}/{$task->taskDenominator()}";
    });
    foreach ($kinds as $kind) {
        $client->{"set{$kind}Callback"}(function (GearmanTask $task) use (&$seen, $kind) {
            $seen[] = trim("$kind {$task->data()}", ' ');
        });
    }
    $client->addTask($function, 'x');
    $client->runTasks();
    return $seen;
}

function progress(): void
{
    $worker = new Worker('progress');
    same(['status 1/3', 'status 2/3', 'status 3/3', 'complete arrived'], events(client(), 'progress'));
}

function do_status(): string
{
    return 'doNormal returns only when the job has ended, and doStatus then says 0/0; a task callback sees progress';
}

function data(): void
{
    $worker = new Worker('data');
    same(['data one', "data two\0", 'data three', 'complete end'], events(client(), 'data'));
    same("onetwo\0threeend", client()->doNormal('data', 'x'), 'chunks gathered by doNormal');
}

function warning(): void
{
    $worker = new Worker('warning');
    same(['warning careful', 'complete done all the same'], events(client(), 'warning'));
}

function exception(): void
{
    $worker = new Worker('exception');
    same(['exception boom'], events(client(), 'exception'));
    $client = client();
    $client->doNormal('exception', 'x');
    same(GEARMAN_WORK_EXCEPTION, $client->returnCode());
}

function exception_without_option(): ?string
{
    if (GEARMAND) {
        return 'gearmand W6';
    }
    $worker = new Worker('exception');
    // Without the callback for exceptions: setting it sets the option too.
    same(['fail'], events(client(exceptions: false), 'exception', ['complete', 'fail']));
    $client = client(exceptions: false);
    $client->doNormal('exception', 'x');
    same(GEARMAN_WORK_FAIL, $client->returnCode());
    $client->enableExceptionHandler();
    $client->doNormal('exception', 'x');
    same(GEARMAN_WORK_EXCEPTION, $client->returnCode(), 'the option set later');
    return null;
}

function fail(): void
{
    $worker = new Worker('fail');
    same(['fail'], events(client(), 'fail'));
    $client = client();
    $client->doNormal('fail', 'x');
    same(GEARMAN_WORK_FAIL, $client->returnCode());
}

function unique(): void
{
    $client = client();
    $file = fresh_path();
    $created = [];
    $results = [];
    $client->setCreatedCallback(function (GearmanTask $task) use (&$created, &$worker) {
        $created[] = $task->jobHandle();
        if (count($created) === 2) {
            $worker = new Worker('note');
        }
    });
    $client->setCompleteCallback(function (GearmanTask $task) use (&$results) {
        $results[] = $task->unique();
    });
    $client->addTask('note', "$file\nx", null, 'same');
    $client->addTask('note', "$file\nx", null, 'same');
    $client->runTasks();
    same($created[0], $created[1], 'handles');
    same(['same', 'same'], $results);
    same('x', file_get_contents($file), 'what ran');
    unlink($file);
}

function status(): void
{
    $worker = new Worker('hold');
    $client = client();
    $file = fresh_path();
    $handle = $client->doBackground('hold', $file);
    $running = [true, true, 3, 7];
    wait_until(fn () => $client->jobStatus($handle) === $running, 'the status is known, running, 3/7');
    $client->setStatusCallback(function (GearmanTask $task) use (&$seen) {
        $seen = [$task->isKnown(), $task->isRunning(), $task->taskNumerator(), $task->taskDenominator()];
    });
    $client->addTaskStatus($handle);
    $client->runTasks();
    same($running, $seen, 'status by addTaskStatus');
    touch($file);
    wait_until(fn () => $client->jobStatus($handle) === [false, false, 0, 0], 'the job has ended');
    unlink($file);
}

function status_by_unique(): void
{
    $file = fresh_path();
    client()->doBackground('hold', $file, 'findme');
    // Asked by another client: after this call libgearman loses track of its connection's submits.
    $client = client();
    same([true, false, 0, 0], $client->jobStatusByUniqueKey('findme'), 'queued');
    $worker = new Worker('hold');
    wait_until(fn () => $client->jobStatusByUniqueKey('findme') === [true, true, 3, 7], 'running, 3/7');
    touch($file);
    wait_until(fn () => $client->jobStatusByUniqueKey('findme') === [false, false, 0, 0], 'the job has ended');
    unlink($file);
}

function payloads(): void
{
    $worker = new Worker('echo_back', 'nothing');
    $client = client();
    same('', $client->doNormal('nothing', 'x'), 'an empty result');
    same(GEARMAN_SUCCESS, $client->returnCode(), 'an empty result');
    $block = implode(array_map('chr', range(0, 255)));
    $all = '';
    for ($number = 0; strlen($all) < 20 << 20; $number++) {
        $all .= pack('N', $number) . $block; // numbered: a lost or doubled piece shows
    }
    foreach ([1, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 20 << 20] as $size) {
        $payload = substr($all, 0, $size);
        same($payload, $client->doNormal('echo_back', $payload), "$size bytes");
        same(GEARMAN_SUCCESS, $client->returnCode(), "$size bytes");
    }
}

function empty_payload(): string
{
    return 'the client refuses to send one (GEARMAN_INVALID_ARGUMENT); an empty result is among the payloads';
}

function worker_dies(): void
{
    $file = fresh_path();
    $worker = new Worker('hold');
    $seen = 0;
    $client = client();
    $client->setStatusCallback(function () use (&$seen, &$worker, $file) {
        if (++$seen === 1) {
            $worker->kill();
            $worker = new Worker('hold');
        } else {
            touch($file);
        }
    });
    $client->setCompleteCallback(function (GearmanTask $task) use (&$result) {
        $result = $task->data();
    });
    $client->addTask('hold', $file);
    same(true, $client->runTasks());
    same('released', $result);
    same(2, $seen, 'workers that had begun');
    unlink($file);
}

function non_blocking(): void
{
    $client = client();
    $client->setOptions(GEARMAN_CLIENT_NON_BLOCKING | GEARMAN_CLIENT_FREE_TASKS);
    $client->setCompleteCallback(function (GearmanTask $task) use (&$result) {
        $result = $task->data();
    });
    $client->addTask('here', 'hello');

    $worker = new GearmanWorker();
    $worker->addServer(HOST, PORT);
    $worker->setId('a-worker-beside-its-client');
    $worker->addOptions(GEARMAN_WORKER_NON_BLOCKING | GEARMAN_WORKER_GRAB_UNIQ);
    $worker->addFunction('here', function (GearmanJob $job) use (&$unique) {
        $unique = $job->unique();
        return strrev($job->workload());
    });
    $client->setTimeout(10);
    wait_until(function () use ($client, $worker, &$result) {
        $client->runTasks();
        $worker->work();
        $client->wait();
        return $result !== null;
    }, 'the task is complete');
    same('olleh', $result);
    same(36, strlen($unique), 'length of the unique id that libgearman makes up');
    $worker->unregister('here');
}

function reconnect(): void
{
    $worker = new Worker('reverse');
    $client = client();
    same('olleh', $client->doNormal('reverse', 'hello'));
    restart_server();
    // The library tells of the lost connection once, then connects again.
    wait_until(fn () => $client->doNormal('reverse', 'hello') === 'olleh', 'client and worker are back');
}

run_checks([
    'foreground', 'ping', 'background', 'priorities', 'priorities_of_tasks', 'background_tasks', 'progress',
    'do_status', 'data', 'warning', 'exception', 'exception_without_option', 'fail', 'unique', 'status',
    'status_by_unique', 'payloads', 'empty_payload', 'worker_dies', 'non_blocking', 'reconnect',
]);
