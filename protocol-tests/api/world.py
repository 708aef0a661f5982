"""Fills a fresh server: functions, workers, jobs in each state, schedules, policies. What is there is in lists."""

import json
import os
import socket
import struct
import time
import urllib.error
import urllib.request

API = os.environ["API"]
GEARMAN = ("127.0.0.1", int(os.environ["GEARMAN_PORT"]))

CAN_DO, SET_CLIENT_ID, GRAB_JOB, NO_JOB, JOB_ASSIGN = 1, 22, 9, 10, 11
WORK_STATUS, WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION, WORK_WARNING = 12, 13, 14, 25, 29

FUNCTIONS = [f"job.{letter}" for letter in "abcdef"]
# What is purged and dropped.
DOOMED = [f"doomed.{letter}" for letter in "abcdef"]
PATTERNS = [f"rule.{letter}" for letter in "abcdef"] + ["rule.*", "*.rule"]

# Workers, by the numbers of their connections.
WORKERS = []
# Handles.
JOBS, SCHEDULES = [], []
# Those of jobs that stand so that this can be asked of them.
FIT_FOR = {}
# The connections stay open as long as this is imported.
CONNECTIONS = []


def ask(method, path, body=None):
    """What a request that goes well answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
        return json.loads(text) if text else None


class Worker:
    """A connection that registered functions."""

    def __init__(self, *functions):
        self.socket = socket.create_connection(GEARMAN, timeout=20)
        self.send(SET_CLIENT_ID, b"test")
        for function in functions:
            self.send(CAN_DO, function.encode())
        CONNECTIONS.append(self)

    def send(self, kind, *arguments):
        body = b"\0".join(arguments)
        self.socket.sendall(b"\0REQ" + struct.pack(">II", kind, len(body)) + body)

    def receive(self):
        _, kind, length = struct.unpack(">4sII", self.read(12))
        return kind, self.read(length)

    def read(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def grab(self):
        """The handle of the next job; nothing: none is there."""
        self.send(GRAB_JOB)
        kind, body = self.receive()
        return body.split(b"\0")[0] if kind == JOB_ASSIGN else None


def wait_for(what, look):
    """Looks until there is something, with a deadline."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise TimeoutError(what)


def is_ready():
    try:
        with urllib.request.urlopen(API + "/readyz", timeout=20) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def fill():
    wait_for("the server is ready", is_ready)
    # Numbers of connections are the same in each run then.
    wait_for("the worker that answers is there", lambda: ask("GET", "/api/v1/workers?function=echo")["items"])
    # These wait as long as they must.
    ask("PUT", "/api/v1/policies/job.*", {"wait_timeout": 0, "keep_succeeded": 3600})
    for index, pattern in enumerate(PATTERNS):
        ask("PUT", f"/api/v1/policies/{pattern}", {"attempts": index, "backoff": 1.5 * index, "order": "lifo"})

    def submit(count, **fields):
        jobs = [{"function": FUNCTIONS[index % 6], "payload": f"payload {index}", **fields} for index in range(count)]
        return [item["handle"] for item in ask("POST", "/api/v1/jobs", jobs)["items"]]

    worker = Worker(*FUNCTIONS)
    running = submit(30, priority="high", mime="text/html")
    taken = [worker.grab() for _ in running]
    ends = [(WORK_COMPLETE, b'{"a": 7}'), (WORK_COMPLETE, b"\xff\x00"), (WORK_EXCEPTION, b"why"), (WORK_FAIL,), ()]
    for index, handle in enumerate(taken):
        worker.send(WORK_WARNING, handle, b"careful")
        worker.send(WORK_STATUS, handle, b"1", b"2")
        end = ends[index % len(ends)]
        if end:
            worker.send(end[0], handle, *end[1:])
    cancelled = submit(6)
    ask("POST", "/api/v1/jobs/actions", {"action": "cancel", "handles": cancelled})
    held = submit(20)
    ask("POST", "/api/v1/jobs/actions", {"action": "hold", "handles": held})
    delayed = submit(30, delay=3600)
    # Those that are acted on in numbers come first.
    JOBS.extend(submit(40) + running + cancelled + held + delayed)
    ended = [handle.decode() for index, handle in enumerate(taken) if len(ends[index % len(ends)]) == 2]
    FIT_FOR.update({"result": ended, "release": held, "retry": cancelled, "run": delayed, "log": running})
    JOBS.append(ask("POST", "/api/v1/jobs", {"function_base64": "av8=", "unique_base64": "/w==", "delay": 60})["handle"])
    JOBS.append(ask("POST", "/api/v1/jobs", {"function": "job.r", "reducer": "sum", "unique": "u", "delay": 60})["handle"])
    ask("POST", "/api/v1/jobs", [{"function": name, "delay": 60} for name in DOOMED for _ in range(5)])
    for index in range(20):
        schedule = {"function": FUNCTIONS[index % 6], "unique": f"s{index}", "cron": "0 4 1 1 *", "overlap": "skip"}
        SCHEDULES.append(ask("POST", "/api/v1/schedules", schedule)["handle"])
    before = {row["id"] for row in ask("GET", "/api/v1/clients?limit=1000")["items"]}
    for index in range(40):
        Worker(f"worker.{index % 4}")

    def registered():
        rows = ask("GET", "/api/v1/workers?function=worker.*&limit=1000")["items"]
        return [row["id"] for row in rows if row["id"] not in before] if len(rows) == 40 else None

    WORKERS.extend(wait_for("workers are registered", registered))
    # What the worker said has arrived.
    wait_for("jobs have ended", lambda: ask("GET", "/api/v1/functions/job.a")["running"] <= 1)
