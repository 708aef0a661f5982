<?php
// What the checks share: the server's address, its text commands, worker processes, and the report.

const HOST = '127.0.0.1';
define('PORT', (int) getenv('GEARMAN_PORT'));
define('GEARMAND', getenv('TARGET') === 'gearmand');
const PATIENCE = 20; // seconds that any awaited thing may take

/** A client with its exceptions option set, as addServer does by default, or without. */
function client(bool $exceptions = true): GearmanClient
{
    $client = new GearmanClient();
    $client->addServer(HOST, PORT, $exceptions);
    $client->setTimeout(PATIENCE * 1000);
    return $client;
}

/** A worker.php process that serves the functions of that file. */
final class Worker
{
    private $process;

    public function __construct(string ...$functions)
    {
        $this->process = proc_open(['php', __DIR__ . '/worker.php', ...$functions], [], $pipes);
    }

    /** Ends it as kill -9 does. */
    public function kill(): void
    {
        if ($this->process) {
            proc_terminate($this->process, 9);
            proc_close($this->process);
            $this->process = null;
        }
    }

    public function __destruct()
    {
        $this->kill();
    }
}

/** A path that does not exist yet. */
function fresh_path(): string
{
    static $number = 0;
    return sys_get_temp_dir() . '/gearhouse-php-' . getmypid() . '-' . ++$number;
}

/** Total, running and workers of a function, by the text command "status". */
function queue(string $function): array
{
    $server = fsockopen(HOST, PORT);
    fwrite($server, "status\n");
    $found = [0, 0, 0];
    while (($line = fgets($server)) !== ".\n") {
        $line !== false or throw new Exception('the reply to "status" has no end');
        $fields = explode("\t", trim($line));
        if ($fields[0] === $function) {
            $found = array_map('intval', array_slice($fields, 1));
        }
    }
    return $found;
}

function wait_until(callable $condition, string $what): void
{
    for ($end = microtime(true) + PATIENCE; !$condition(); usleep(5000)) {
        microtime(true) < $end or throw new Exception("waited in vain until $what");
    }
}

function wait_until_queued(string $function, int $jobs): void
{
    wait_until(fn () => queue($function)[0] === $jobs, "$jobs jobs of $function are queued");
}

function wait_until_running(string $function): void
{
    wait_until(fn () => queue($function)[1] === 1, "a job of $function runs");
}

/** Kills the server and starts it again. */
function restart_server(): void
{
    $control = fsockopen(HOST, (int) getenv('CONTROL_PORT'));
    fwrite($control, "restart\n");
    same("ok\n", fgets($control));
}

function same($expected, $actual, string $what = 'value'): void
{
    if ($expected !== $actual) {
        $show = fn ($value) => is_string($value) && strlen($value) > 200
            ? strlen($value) . ' bytes' : var_export($value, true);
        throw new Exception("$what: expected {$show($expected)}, not {$show($actual)}");
    }
}

/** Runs each function of the list, reports it by name, and exits. */
function run_checks(array $checks): never
{
    set_error_handler(function (int $level, string $message) {
        // The library warns of what its return codes say; the checks look at those.
        return str_starts_with($message, 'Gearman');
    });
    $failed = false;
    foreach ($checks as $check) {
        try {
            $left_out = $check();
            echo $left_out ? "n/a $check: $left_out\n" : "ok $check\n";
        } catch (Throwable $error) {
            echo "FAILED $check: $error\n";
            $failed = true;
        }
    }
    exit($failed ? 1 : 0);
}
