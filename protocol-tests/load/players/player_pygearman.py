"""pygearman as a worker or a client of the load."""

import gearman

from player import HOST, PORT, REST, ROLE, batches, note, perform

PRIORITY = {"h": gearman.PRIORITY_HIGH, "n": gearman.PRIORITY_NONE, "l": gearman.PRIORITY_LOW}
SECONDS = 600


def work():
    worker = gearman.GearmanWorker([(HOST, PORT)])
    for function in REST:
        worker.register_task(function.encode(), lambda _, job: perform(job.data))
    worker.work()


def submit():
    client = gearman.GearmanClient([(HOST, PORT)])
    for batch in batches():
        waiting = submit_all(client, [job for job in batch if job.mode == "f"], background=False)
        submit_all(client, [job for job in batch if job.mode == "b"], background=True)
        client.wait_until_jobs_completed([request for _, request in waiting], poll_timeout=SECONDS)
        for planned, request in waiting:
            if request.state == gearman.JOB_COMPLETE:
                note(f"d {planned.id} {request.result.decode()}\n")
            else:
                note(f"f {planned.id}\n")


def submit_all(client, planned, background):
    """Returns when all are accepted."""
    jobs = [
        {"task": job.function.encode(), "data": job.payload, "unique": job.unique, "priority": PRIORITY[job.priority]}
        for job in planned
    ]
    requests = client.submit_multiple_jobs(jobs, background=background, wait_until_complete=False, poll_timeout=SECONDS)
    note("".join(f"a {job.id} {request.job.handle.decode()}\n" for job, request in zip(planned, requests)))
    return list(zip(planned, requests))


work() if ROLE == "worker" else submit()
