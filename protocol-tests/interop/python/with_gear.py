"""gear: its client, its worker and all its administrative requests."""

import collections
import os
import sys
import threading

import gear

from checks import HOST, PAYLOAD_SIZES, PORT, NotOffered, check, eventually, payload, restart_server, run, same, say, wait_for_go, worker

# gear copies a message anew for each 4096 bytes that arrive of it. That is five times as fast when the C library keeps large
# blocks instead of giving each back to the system; it takes these words only at a program's start.
KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**28)}

PREFIX = f"gear-{os.getpid()}-"


def main():
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2:])
    if not KEEP_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    run()


# The worker process


def work(functions):
    connected = gear.Worker("gear-worker")
    connected.addServer(HOST, PORT)
    connected.waitForServer()
    for function in functions:
        connected.registerFunction(function)
    while True:
        perform(connected.getJob())


def perform(job):
    kind = job.name.rsplit("-", 1)[1]
    if kind == "echo":
        job.sendWorkComplete(job.arguments)
    elif kind == "record":
        say(f"ran {job.name} {job.arguments.decode()}")
        job.sendWorkComplete(job.arguments)
    elif kind == "hold":
        job.sendWorkStatus(3, 10)
        say(f"holding {(job.unique or b'').decode()}")
        wait_for_go()
        job.sendWorkComplete(job.arguments)
    elif kind == "progress":
        for step in range(1, 5):
            job.sendWorkStatus(step, 4)
        job.sendWorkComplete()
    elif kind == "chunks":
        for piece in job.arguments.split(b","):
            job.sendWorkData(piece)
        job.sendWorkComplete(b"end")
    elif kind == "warn":
        job.sendWorkWarning(job.arguments)
        job.sendWorkComplete(b"warned")
    elif kind == "raise":
        job.sendWorkException(job.arguments)
    elif kind == "fail":
        job.sendWorkFail()


# The client


class Client(gear.Client):
    """gear's client, which keeps only the newest numbers and mixes warnings with data; this one keeps all that arrives."""

    def __init__(self):
        super().__init__("gear-client")
        self.news = threading.Condition()
        self.statuses = collections.defaultdict(list)
        self.warnings = collections.defaultdict(list)
        self.addServer(HOST, PORT)
        self.waitForServer(timeout=10)

    def handlePacket(self, packet):
        super().handlePacket(packet)
        with self.news:
            self.news.notify_all()

    def handleWorkStatus(self, packet):
        job = super().handleWorkStatus(packet)
        self.statuses[job.handle].append((job.numerator, job.denominator))

    def handleWorkWarning(self, packet):
        job = super().handleWorkWarning(packet)
        self.warnings[job.handle].append(job.data[-1])

    def wait(self, condition, what, seconds=40):
        with self.news:
            if not self.news.wait_for(condition, seconds):
                raise TimeoutError(f"not within {seconds} s: {what}")

    def submit(self, kind, data=b"", unique=None, **options):
        job = gear.Job(PREFIX + kind, data, unique)
        self.submitJob(job, **options)
        return job

    def finish(self, job):
        self.wait(lambda: job.complete, f"the end of {job}")
        return job

    def status(self, job):
        """gear has the answer's handler, but no call for the question."""
        job.known = None
        self.sendPacket(gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle), job.connection)
        self.wait(lambda: job.known is not None, "the answer to GET_STATUS")
        return (job.known, job.running, job.numerator, job.denominator)

    def admin(self, request):
        self.getConnection().sendAdminRequest(request, timeout=20)
        return request.response

    def lines(self, request):
        lines = self.admin(request).decode().split("\n")
        same(lines[-2:], [".", ""], "the end of the list")
        return lines[:-2]


client = None


def result(job):
    same(job.failure, False, "failure")
    return b"".join(job.data)


@check
def connecting():
    global client
    client = Client()


@check
def foreground():
    with worker(PREFIX + "echo"):
        same(result(client.finish(client.submit("echo", b"hello"))), b"hello")


@check
def background():
    with worker(PREFIX + "record") as ours:
        job = client.submit("record", b"unwatched", background=True)
        same(ours.wait_for("ran"), f"{PREFIX}record unwatched")
        eventually(lambda: client.status(job)[:2] == (False, False), "an ended job is unknown")
        same(job.complete, False, "a background job's completion at the client")


@check
def priorities():
    submitted = []
    for order, precedence in enumerate([gear.PRECEDENCE_LOW, gear.PRECEDENCE_NORMAL, gear.PRECEDENCE_HIGH]):
        for mode, is_background in (("bg", True), ("fg", False)):
            name = f"{order}{mode}".encode()
            submitted.append(client.submit("order-record", name, precedence=precedence, background=is_background))
    with worker(PREFIX + "order-record") as ours:
        order = [ours.wait_for("ran").split()[1] for _ in range(6)]
        # The last to run is one that can be waited for, so the worker leaves nothing half done.
        client.finish(submitted[1])
    same(order, ["2bg", "2fg", "1bg", "1fg", "0bg", "0fg"], "the order")


@check
def progress():
    with worker(PREFIX + "progress"):
        job = client.finish(client.submit("progress"))
    same(client.statuses[job.handle], [(b"%d" % step, b"4") for step in range(1, 5)], "progress")
    same(job.fraction_complete, 1.0, "the fraction")


@check
def data():
    with worker(PREFIX + "chunks"):
        job = client.finish(client.submit("chunks", b"a,\0b\xff,c"))
    same(job.data, [b"a", b"\0b\xff", b"c", b"end"], "data")


@check
def warning():
    with worker(PREFIX + "warn"):
        job = client.finish(client.submit("warn", b"beware\0\xfe"))
    same(job.warning, True, "the mark of a warning")
    same(client.warnings[job.handle], [b"beware\0\xfe"], "warnings")
    same(job.data[-1:], [b"warned"], "the result")


@check
def exception_without_option():
    with worker(PREFIX + "raise", PREFIX + "echo"):
        job = client.finish(client.submit("raise", b"broken"))
        same((job.failure, job.exception), (True, None), "failure and exception")
        # The worker must have come through it.
        same(result(client.finish(client.submit("echo", b"next"))), b"next")


@check
def exception():
    same(client.setOption("exceptions"), True, "the answer to the option")
    with worker(PREFIX + "raise", PREFIX + "echo"):
        job = client.finish(client.submit("raise", b"broken\0\xff"))
        same((job.failure, job.exception), (True, b"broken\0\xff"), "failure and exception")
        same(result(client.finish(client.submit("echo", b"next"))), b"next")


@check
def fail():
    with worker(PREFIX + "fail"):
        job = client.finish(client.submit("fail"))
    same((job.failure, job.data), (True, []), "failure and data")


@check
def unique():
    # One connection keeps one job for each handle, so the second submitter is another client.
    other = Client()
    jobs = [one.submit("unique-record", data, "the-one") for one, data in ((client, b"first"), (other, b"second"))]
    same(jobs[0].handle, jobs[1].handle, "the second handle")
    with worker(PREFIX + "unique-record", PREFIX + "echo") as ours:
        same([result(one.finish(job)) for one, job in zip((client, other), jobs)], [b"first", b"first"], "results")
        client.finish(client.submit("echo"))
        same([line for line in ours.lines if line.startswith("ran")], [f"ran {PREFIX}unique-record first"], "what ran")
    other.shutdown()


@check
def status():
    job = client.submit("status-hold", b"x", background=True)
    same(client.status(job), (True, False, b"0", b"0"), "the status of a waiting job")
    with worker(PREFIX + "status-hold") as ours:
        ours.wait_for("holding")
        eventually(lambda: client.status(job) == (True, True, b"3", b"10"), "the status of a running job")
        ours.go()
        eventually(lambda: client.status(job) == (False, False, b"0", b"0"), "an ended job is unknown")


@check
def status_by_unique():
    raise NotOffered("the library does not know the packet")


@check
def payloads():
    with worker(PREFIX + "echo"):
        for size in PAYLOAD_SIZES:
            sent = payload(size)
            same(result(client.finish(client.submit("echo", sent))), sent, f"the result of {size} bytes")


@check
def worker_dies():
    job = client.submit("dying-hold", b"survivor", "a-unique-id")
    with worker(PREFIX + "dying-hold") as first:
        same(first.wait_for("holding"), "a-unique-id", "the unique id at the worker")
    with worker(PREFIX + "dying-hold") as second:
        same(second.wait_for("holding"), "a-unique-id", "the unique id at the second worker")
        second.go()
        same(result(client.finish(job)), b"survivor")


@check
def abilities():
    ours = gear.Worker("gear-abilities")
    ours.addServer(HOST, PORT)
    ours.waitForServer(timeout=10)

    def registered():
        lines = [line.split() for line in client.lines(gear.WorkersAdminRequest()) if " gear-abilities :" in line]
        return sorted(name.removeprefix(PREFIX) for line in lines for name in line[4:])

    ours.registerFunction(PREFIX + "a")
    ours.registerFunction(PREFIX + "b", timeout=b"60000")
    eventually(lambda: registered() == ["a", "b"], "CAN_DO and CAN_DO_TIMEOUT")
    ours.unRegisterFunction(PREFIX + "a")
    eventually(lambda: registered() == ["b"], "CANT_DO")
    ours.setFunctions([gear.FunctionRecord((PREFIX + name).encode()) for name in ("c", "d")])
    eventually(lambda: registered() == ["c", "d"], "RESET_ABILITIES")
    ours.shutdown()


@check
def admin_version():
    answer = client.admin(gear.VersionAdminRequest())
    same(answer[:3] + answer[-1:], b"OK \n", "the frame of the version")


@check
def admin_status_jobs_and_uniques():
    job = client.submit("admin-hold", b"x", "admin-unique", background=True)
    handle = job.handle.decode()
    name = PREFIX + "admin-hold"
    status = lambda: [line for line in client.lines(gear.StatusAdminRequest()) if line.startswith(name + "\t")]
    same(status(), [f"{name}\t1\t0\t0"], "status")
    same([line for line in client.lines(gear.ShowJobsAdminRequest()) if handle in line], [f"{handle}\t0\t0\t1"], "show jobs")
    same(client.lines(gear.ShowUniqueJobsAdminRequest()).count("admin-unique"), 1, "show unique jobs")
    with worker(name) as ours:
        ours.wait_for("holding")
        same(status(), [f"{name}\t1\t1\t1"], "status while running")
        workers = client.lines(gear.WorkersAdminRequest())
        same([line.split()[1:] for line in workers if line.endswith(f" {name}")], [["127.0.0.1", "gear-worker", ":", name]], "workers")
        ours.go()
        eventually(lambda: status() == [f"{name}\t0\t0\t1"], "status at the end")


@check
def admin_cancel_job():
    job = client.submit("never-echo", b"x")
    same(client.admin(gear.CancelJobAdminRequest(job.handle)), b"OK\r\n", "the answer")
    same(client.finish(job).failure, True, "failure")
    same(client.admin(gear.CancelJobAdminRequest("H:nobody:1")), b"ERR UNKNOWN_JOB\r\n", "the answer for an unknown job")


@check
def reconnect():
    with worker(PREFIX + "echo"):
        same(result(client.finish(client.submit("echo", b"before"))), b"before")
        broken = client.active_connections[0].connect_time
        restart_server()
        # Both come back by themselves, on the same objects: the client here, the worker in its process.
        eventually(lambda: [link for link in client.active_connections if link.connect_time != broken], "the client is back")
        same(result(client.finish(client.submit("echo", b"after"))), b"after")


if __name__ == "__main__":
    main()
