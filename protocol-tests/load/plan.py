"""What the load is made of: who plays, who is killed when, and every job, all from one seed."""

import random
from collections import namedtuple

FUNCTIONS = [f"load-{number}" for number in range(10)]
MODES = {"f": "foreground", "b": "background"}
PRIORITIES = {"h": "high", "n": "normal", "l": "low"}

# A library's workers and clients, 50 each in all, each client's share of the jobs, how many jobs it submits at once, the priorities
# it can ask for, and whether it can wait twice for one job on one connection.
Library = namedtuple("Library", "workers clients share batch priorities pairs")
LIBRARIES = {
    "libgearman": Library(20, 20, 12, 100, "hnl", True),
    "php-gearman": Library(10, 10, 6, 60, "hnl", True),
    "perl": Library(6, 6, 3, 40, "hn", False),
    "pygearman": Library(5, 5, 2, 40, "hnl", False),
    "gear": Library(3, 3, 1, 20, "hnl", False),
    "npm-gearman": Library(3, 4, 3, 40, "hnl", False),
    "gearmanode": Library(3, 2, 1, 20, "hnl", False),
}

WORKER_KILLS = 60
LEAVING_CLIENTS = 10

# One job in so many takes some time, is large, or has a partner with the same unique id right behind it.
SLOW_EVERY, SLOW_MILLISECONDS = 50, 50
LARGE_EVERY, LARGE_BYTES = 500, 70_000
PAIR_EVERY = 50

Job = namedtuple("Job", "id mode priority function unique milliseconds padding")
Client = namedtuple("Client", "name library batches leaves_at")
Worker = namedtuple("Worker", "name library functions")
Plan = namedtuple("Plan", "clients workers kills")


def make_plan(jobs, seed, mixed_pairs=True):
    """`jobs` jobs by the clients that stay; what those submit who leave comes on top. Kills are pairs of a moment, as a part of all
    there is to do, and a worker's name. In mixed pairs, a background job and a foreground job have one unique id."""
    dice = random.Random(seed)
    clients = [Client(f"client-{i:02}", name, [], None) for i, name in enumerate(_each("clients"))]
    for number in dice.sample(range(len(clients)), LEAVING_CLIENTS):
        clients[number] = clients[number]._replace(leaves_at=dice.uniform(0.2, 0.8))
    for client, count in zip(clients, _counts(clients, jobs)):
        client.batches.extend(_batches(dice, client, count, mixed_pairs))
    workers = [Worker(f"worker-{i:02}", name, _functions(dice, i)) for i, name in enumerate(_each("workers"))]
    kills = sorted((dice.uniform(0.03, 0.9), dice.choice(workers).name) for _ in range(WORKER_KILLS))
    return Plan(clients, workers, kills)


def jobs_of(client):
    return [job for batch in client.batches for job in batch]


def as_text(client):
    """The form that players read: a job a line, an empty line behind each batch."""
    lines = ("".join(" ".join(map(str, job)) + "\n" for job in batch) for batch in client.batches)
    return "\n".join(lines) + "\n"


def _each(what):
    return [name for name, library in LIBRARIES.items() for _ in range(getattr(library, what))]


def _counts(clients, jobs):
    shares = [LIBRARIES[client.library].share for client in clients]
    staying = [number for number, client in enumerate(clients) if client.leaves_at is None]
    counts = [jobs * share // sum(shares[number] for number in staying) for share in shares]
    counts[staying[0]] += jobs - sum(counts[number] for number in staying)
    return counts


def _functions(dice, number):
    """Some of the functions, one of them by turn so that none is without a worker."""
    return sorted({FUNCTIONS[number % len(FUNCTIONS)], *dice.sample(FUNCTIONS, dice.randint(3, len(FUNCTIONS)))})


def _batches(dice, client, count, mixed_pairs):
    library = LIBRARIES[client.library]
    jobs = []
    while len(jobs) < count:
        job = _job(dice, client, len(jobs), library.priorities)
        jobs.append(job)
        # The partner must be in the same batch, or the first would have ended.
        if library.pairs and dice.randrange(PAIR_EVERY) == 0 and len(jobs) < count and len(jobs) % library.batch:
            first = jobs[-1] = job._replace(unique=f"pair-{job.id}")
            second = _job(dice, client, len(jobs), library.priorities)
            mode = second.mode if mixed_pairs else first.mode
            jobs.append(second._replace(function=first.function, unique=first.unique, mode=mode))
    return [jobs[at : at + library.batch] for at in range(0, count, library.batch)]


def _job(dice, client, number, priorities):
    return Job(
        id=f"{client.name.removeprefix('client-')}-{number}",
        mode=dice.choice("fb"),
        priority=dice.choice(priorities),
        function=dice.choice(FUNCTIONS),
        unique="-",
        milliseconds=SLOW_MILLISECONDS if dice.randrange(SLOW_EVERY) == 0 else 0,
        padding=LARGE_BYTES if dice.randrange(LARGE_EVERY) == 0 else dice.randrange(200),
    )
