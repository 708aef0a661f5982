"""gear as a worker or a client of the load."""

import gear

from player import HOST, PORT, REST, ROLE, batches, note, perform

PRECEDENCE = {"h": gear.PRECEDENCE_HIGH, "n": gear.PRECEDENCE_NORMAL, "l": gear.PRECEDENCE_LOW}


def work():
    worker = gear.Worker("load")
    worker.addServer(HOST, PORT)
    worker.waitForServer()
    for function in REST:
        worker.registerFunction(function)
    while True:
        job = worker.getJob()
        job.sendWorkComplete(perform(job.arguments))


class Client(gear.Client):
    def handleJobCreated(self, packet):
        job = super().handleJobCreated(packet)
        # Here, since the end can come before submitJob returns.
        note(f"a {job.planned.id} {job.handle.decode()}\n")

    def handleWorkComplete(self, packet):
        job = super().handleWorkComplete(packet)
        note(f"d {job.planned.id} {b''.join(job.data).decode()}\n")
        job.ended.setComplete()

    def handleWorkFail(self, packet):
        job = super().handleWorkFail(packet)
        note(f"f {job.planned.id}\n")
        job.ended.setComplete()


def submit():
    client = Client("load")
    client.addServer(HOST, PORT)
    client.waitForServer()
    for batch in batches():
        waiting = []
        for planned in batch:
            job = gear.Job(planned.function, planned.payload, planned.unique)
            job.planned, job.ended = planned, gear.Task()
            client.submitJob(job, background=planned.mode == "b", precedence=PRECEDENCE[planned.priority], timeout=120)
            if planned.mode == "f":
                waiting.append(job)
        for job in waiting:
            job.ended.wait()


work() if ROLE == "worker" else submit()
