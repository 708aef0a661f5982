"""What both scripts of this folder share: the environment they are run with, the checks, payloads, and worker processes.

A check is a function with the decorator `check`; `run` runs them in order and prints one line for each: `ok NAME`,
`n/a NAME: reason`, or `failed NAME: reason`. The exit code is 0 only if nothing failed.

The worker of a script is the script itself, run as a child with the word `work`, so that it can be killed. The two talk by
lines: the child says what it does (`holding ID`, `ran FUNCTION DATA`), and goes on with a held job when it is told `go`.

A check that minds the order of jobs or what is waiting uses a function of its own: the last request of a worker that was killed a
moment ago may still take a job, which then goes to the end of the queue.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager

HOST = os.environ["GEARMAN_HOST"]
PORT = int(os.environ["GEARMAN_PORT"])
TARGET = os.environ["TARGET"]

ONE_CHECK_SECONDS = 90
PAYLOAD_SIZES = [0, 1, 65535, 65536, 65537, 2**20 - 1, 2**20, 2**20 + 1, 20 * 2**20]

_checks = []


class NotOffered(Exception):
    """The library has no call for this."""


def check(function=None, *, gearmand=None):
    """Marks a check. `gearmand` names the fault of gearmand (section 7 of the protocol notes) that breaks it there."""
    if function is None:
        return lambda marked: check(marked, gearmand=gearmand)
    _checks.append((function.__name__, function, gearmand))
    return function


def run():
    """Runs every check and ends the process."""
    failures = 0
    for name, function, fault in _checks:
        if fault and TARGET == "gearmand":
            print(f"n/a {name}: gearmand {fault}", flush=True)
            continue
        signal.signal(signal.SIGALRM, _too_slow)
        signal.alarm(ONE_CHECK_SECONDS)
        try:
            function()
            print(f"ok {name}", flush=True)
        except NotOffered as reason:
            print(f"n/a {name}: {reason}", flush=True)
        except Exception as error:
            failures += 1
            print(f"failed {name}: {error!r}", flush=True)
            traceback.print_exc()
        finally:
            signal.alarm(0)
    # The libraries leave threads behind that would keep the process.
    sys.stdout.flush()
    os._exit(1 if failures else 0)


def restart_server():
    """Has the server killed and returns when a fresh one accepts."""
    with socket.create_connection(("127.0.0.1", int(os.environ["CONTROL_PORT"]))) as control:
        control.sendall(b"restart\n")
        answer = control.makefile().readline()
    if answer != "ok\n":
        raise RuntimeError(f"restart was answered by {answer!r}")


def payload(size):
    """Bytes with every value in them, such that no shifted, cut or repeated piece of it looks right."""
    row = bytes(range(256))
    block = b"".join(row[turn:] + row[:turn] for turn in range(256)) + b"\0\0\n\r seam"
    return (block * (size // len(block) + 1))[:size]


def same(got, expected, what="result"):
    """Compares without printing megabytes."""
    if got == expected:
        return
    if isinstance(got, bytes) and len(got) > 200:
        got = f"{len(got)} bytes"
    if isinstance(expected, bytes) and len(expected) > 200:
        expected = f"{len(expected)} bytes"
    raise AssertionError(f"{what} is {got!r}, not {expected!r}")


def eventually(condition, what, seconds=20):
    """Returns the first true value of `condition`, tried again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Worker:
    """The script as a worker process for the given functions."""

    def __init__(self, *functions):
        self.lines = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, sys.argv[0], "work", *functions], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def wait_for(self, prefix, seconds=20):
        """Takes the first line that begins so, and returns the rest of it."""

        def found():
            return next((line for line in self.lines if line.startswith(prefix)), None)

        with self.news:
            if not self.news.wait_for(found, seconds):
                raise TimeoutError(f"the worker did not say {prefix!r}, only {self.lines}")
            line = found()
            self.lines.remove(line)
            return line[len(prefix) :].strip()

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextmanager
def worker(*functions):
    child = Worker(*functions)
    try:
        yield child
    finally:
        child.kill()


def say(line):
    """In the worker process: tells the script."""
    print(line, flush=True)


def wait_for_go():
    """In the worker process: waits for the script."""
    if sys.stdin.readline() != "go\n":
        os._exit(1)


def _too_slow(*_):
    raise TimeoutError(f"the check took more than {ONE_CHECK_SECONDS} s")
