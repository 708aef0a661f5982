"""pygearman, the living line of python-gearman: its client, its worker and its administrative client."""

import os
import sys
import time

import gearman
from gearman.errors import ExceededConnectionAttempts, ServerUnavailable

from checks import HOST, PAYLOAD_SIZES, PORT, NotOffered, check, eventually, payload, restart_server, run, same, say, wait_for_go, worker

SERVERS = [(HOST, PORT)]
PREFIX = f"pygearman-{os.getpid()}-"
SECONDS = 80


def main():
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2:])
    run()


# The worker process


def work(functions):
    ours = gearman.GearmanWorker(SERVERS)
    ours.set_client_id("pygearman-worker")
    for function in functions:
        kind = function.rsplit("-", 1)[1]
        # The library compares names as bytes with what the server sends.
        ours.register_task(function.encode(), globals()[f"do_{kind}"])
    while True:
        try:
            ours.work()
        except ServerUnavailable:
            # It wants a second between two attempts and leaves them to the caller.
            time.sleep(1)


def do_echo(_, job):
    return job.data


def do_record(_, job):
    say(f"ran {job.task.decode()} {job.data.decode()}")
    return job.data


def do_hold(ours, job):
    ours.send_job_status(job, 3, 10)
    say(f"holding {job.unique.decode()}")
    wait_for_go()
    return job.data


def do_progress(ours, job):
    for step in range(1, 5):
        ours.send_job_status(job, step, 4)
        say(f"step {step}")
        wait_for_go()
    return b""


def do_chunks(ours, job):
    for piece in job.data.split(b","):
        ours.send_job_data(job, piece)
    return b"end"


def do_warn(ours, job):
    ours.send_job_warning(job, job.data)
    return b"warned"


def do_raise(ours, job):
    # Sends WORK_EXCEPTION and WORK_FAIL; the raise adds a second WORK_FAIL, so the job is told three times to have failed.
    ours.send_job_exception(job, job.data)
    raise RuntimeError("as the client was told")


def do_fail(_, job):
    raise RuntimeError("the library makes this a WORK_FAIL")


# The client

client = gearman.GearmanClient(SERVERS)


def submit(kind, data=b"", to=None, **options):
    """Returns when the job is accepted."""
    return (to or client).submit_job((PREFIX + kind).encode(), data, wait_until_complete=False, poll_timeout=SECONDS, **options)


def finish(request, at=None):
    (at or client).wait_until_jobs_completed([request], poll_timeout=SECONDS)
    same(request.timed_out, False, "the time-out")
    return request


def result(request, at=None):
    finish(request, at)
    same(request.state, gearman.JOB_COMPLETE, "the state")
    return request.result


def status_of(request):
    seen = client.get_job_status(request, poll_timeout=SECONDS).status
    return (seen["known"], seen["running"], seen["numerator"], seen["denominator"])


@check
def foreground():
    with worker(PREFIX + "echo"):
        same(result(submit("echo", b"hello")), b"hello")


@check
def background():
    with worker(PREFIX + "record") as ours:
        request = submit("record", b"unwatched", background=True)
        same(ours.wait_for("ran"), f"{PREFIX}record unwatched")
        eventually(lambda: status_of(request)[:2] == (False, False), "an ended job is unknown")
        same(request.result, None, "a background job's result at the client")


@check
def priorities():
    # The client holds its requests weakly and can't bear a result of one that is gone.
    requests = []
    for order, priority in enumerate([gearman.PRIORITY_LOW, gearman.PRIORITY_NONE, gearman.PRIORITY_HIGH]):
        for mode, is_background in (("bg", True), ("fg", False)):
            requests.append(submit("order-record", f"{order}{mode}".encode(), priority=priority, background=is_background))
    with worker(PREFIX + "order-record") as ours:
        order = [ours.wait_for("ran").split()[1] for _ in range(6)]
        for request in requests:
            finish(request)
    same(order, ["2bg", "2fg", "1bg", "1fg", "0bg", "0fg"], "the order")


@check
def progress():
    with worker(PREFIX + "progress") as ours:
        request = submit("progress")
        for step in range(1, 5):
            # A request keeps the newest numbers only, so the worker waits until these have been seen.
            ours.wait_for(f"step {step}")

            def seen():
                client.wait_until_jobs_completed([request], poll_timeout=0.05)
                return (request.status.get("numerator"), request.status.get("denominator")) == (step, 4)

            eventually(seen, f"progress {step}/4")
            ours.go()
        same(result(request), b"")


@check
def data():
    with worker(PREFIX + "chunks"):
        request = submit("chunks", b"a,\0b\xff,,c")
        same(result(request), b"end")
    same(list(request.data_updates), [b"a", b"\0b\xff", b"", b"c"], "data")


@check
def warning():
    with worker(PREFIX + "warn"):
        request = submit("warn", b"beware\0\xfe")
        same(result(request), b"warned")
    same(list(request.warning_updates), [b"beware\0\xfe"], "warnings")


@check(gearmand="W6")
def exception_without_option():
    with worker(PREFIX + "raise", PREFIX + "echo"):
        request = finish(submit("raise", b"broken"))
        same((request.state, request.exception), (gearman.JOB_FAILED, None), "the state and the exception")
        same(result(submit("echo", b"next")), b"next")


@check
def exception():
    raise NotOffered("no call sets a connection's options")


@check
def fail():
    with worker(PREFIX + "fail"):
        same(finish(submit("fail")).state, gearman.JOB_FAILED, "the state")


@check
def unique():
    # One client keeps one request for each handle, so the second submitter is another client.
    other = gearman.GearmanClient(SERVERS)
    first = submit("unique-record", b"first", unique="the-one")
    second = submit("unique-record", b"second", unique="the-one", to=other)
    same(first.job.handle, second.job.handle, "the second handle")
    with worker(PREFIX + "unique-record", PREFIX + "echo") as ours:
        same([result(first), result(second, other)], [b"first", b"first"], "results")
        result(submit("echo"))
        same([line for line in ours.lines if line.startswith("ran")], [f"ran {PREFIX}unique-record first"], "what ran")
    other.shutdown()


@check
def status():
    request = submit("status-hold", b"x", background=True)
    same(status_of(request), (True, False, 0, 0), "the status of a waiting job")
    with worker(PREFIX + "status-hold") as ours:
        ours.wait_for("holding")
        eventually(lambda: status_of(request) == (True, True, 3, 10), "the status of a running job")
        ours.go()
        eventually(lambda: status_of(request) == (False, False, 0, 0), "an ended job is unknown")


@check
def status_by_unique():
    raise NotOffered("the library does not know the packet")


@check
def payloads():
    with worker(PREFIX + "echo"):
        for size in PAYLOAD_SIZES:
            sent = payload(size)
            same(result(submit("echo", sent)), sent, f"the result of {size} bytes")


@check
def many_jobs_at_once():
    jobs = [{"task": (PREFIX + "echo").encode(), "data": b"%d" % number} for number in range(200)]
    with worker(PREFIX + "echo"), worker(PREFIX + "echo"):
        done = client.submit_multiple_jobs(jobs, poll_timeout=SECONDS)
    same([request.result for request in done], [job["data"] for job in jobs], "results")


@check
def worker_dies():
    request = submit("dying-hold", b"survivor", unique="a-unique-id")
    with worker(PREFIX + "dying-hold") as first:
        same(first.wait_for("holding"), "a-unique-id", "the unique id at the worker")
    with worker(PREFIX + "dying-hold") as second:
        same(second.wait_for("holding"), "a-unique-id", "the unique id at the second worker")
        second.go()
        same(result(request), b"survivor")


# The administrative client

admin = gearman.GearmanAdminClient(SERVERS)


@check
def admin_ping():
    same(0 < admin.ping_server() < 10, True, "a time for the round trip")


@check
def admin_version_and_pid():
    same(admin.get_version()[:3], "OK ", "the beginning of the version")
    word, pid = admin.get_pid().split(" ")
    same((word, pid.isdigit()), ("OK", True), "the pid")


@check
def admin_status_workers_and_jobs():
    request = submit("admin-hold", b"x", unique="admin-unique", background=True)
    name, handle = PREFIX + "admin-hold", request.job.handle.decode()
    counts = lambda: [(f["queued"], f["running"], f["workers"]) for f in admin.get_status() if f["task"] == name]
    same(counts(), [(1, 0, 0)], "status")
    jobs = [job for job in admin.get_jobs() if job["handle"] == handle]
    same(jobs, [{"handle": handle, "queued": 0, "canceled": 0, "enabled": 1}], "show jobs")
    same([job for job in admin.get_unique_jobs() if job["unique"] == ["admin-unique"]], [{"unique": ["admin-unique"]}], "show unique jobs")
    with worker(name) as ours:
        ours.wait_for("holding")
        same(counts(), [(1, 1, 1)], "status while running")
        workers = [w for w in admin.get_workers() if w["client_id"] == "pygearman-worker"]
        same([(w["ip"], w["tasks"]) for w in workers], [("127.0.0.1", (name,))], "workers")
        ours.go()
        eventually(lambda: counts() == [(0, 0, 1)], "status at the end")


@check
def admin_cancel_job():
    request = submit("never-echo", b"x")
    same(admin.cancel_job(request.job.handle.decode()).strip(), "OK", "the answer")
    same(finish(request).state, gearman.JOB_FAILED, "the state")
    same(admin.cancel_job("H:nobody:1").strip(), "ERR UNKNOWN_JOB", "the answer for an unknown job")


@check(gearmand="W25")
def admin_maxqueue():
    name = PREFIX + "limited-echo"
    same(admin.send_maxqueue(name, 1), "OK", "the answer")
    same(submit("limited-echo", b"1", background=True).state, gearman.JOB_CREATED, "the first job's state")
    # An ERROR is only logged by this library: the second job is never created.
    refused = client.submit_job(name.encode(), b"2", background=True, wait_until_complete=False, poll_timeout=1)
    same((refused.state, refused.timed_out), ("PENDING", True), "the second job's state")
    same(admin.send_maxqueue(name, 0), "OK", "the answer")


@check
def reconnect():
    # Not the client above: after a refused job it waits for an answer to it for ever.
    again = gearman.GearmanClient(SERVERS)
    with worker(PREFIX + "echo"):
        same(result(submit("echo", b"before", to=again), again), b"before")
        restart_server()

        def answered():
            try:
                return result(submit("echo", b"after", to=again), again)
            except (ExceededConnectionAttempts, ServerUnavailable):
                return None

        same(eventually(answered, "the client and the worker are back"), b"after")


if __name__ == "__main__":
    main()
