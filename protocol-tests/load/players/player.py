"""What the players in Python share. README.md tells what the words and lines mean."""

import os
import sys
import time
from collections import namedtuple

Planned = namedtuple("Planned", "id mode priority function unique payload")

ROLE, HOST, PORT, _journal, *REST = sys.argv[1:]
PORT = int(PORT)
_journal = os.open(_journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def note(lines):
    """Unbuffered: what was written before a SIGKILL stays."""
    os.write(_journal, lines.encode())


def perform(payload):
    """A job's work, told in the journal; returns the result."""
    name, milliseconds, _ = payload.decode().split(" ", 2)
    note(f"s {name}\n")
    time.sleep(int(milliseconds) / 1000)
    note(f"e {name}\n")
    return f"done {name}".encode()


def batches():
    """The plan, batch by batch; that a batch comes next is told in the journal."""
    with open(REST[0]) as plan:
        for batch in plan.read().strip().split("\n\n"):
            jobs = [_planned(*line.split(" ")) for line in batch.split("\n")]
            note("".join(f"+ {job.id}\n" for job in jobs))
            yield jobs
    note(".\n")


def _planned(name, mode, priority, function, unique, milliseconds, padding):
    payload = f"{name} {milliseconds} ".encode() + b"x" * int(padding)
    return Planned(name, mode, priority, function, None if unique == "-" else unique, payload)
