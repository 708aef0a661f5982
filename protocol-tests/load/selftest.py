"""Shows that the accounts can fail: journals of an honest load balance, and each way of spoiling them is found."""

from accounts import Accounts
from plan import as_text, jobs_of, make_plan


def main():
    problems = [name for name, spoil, expected in SPOILERS if not found(spoil, expected, name)]
    if problems:
        raise SystemExit(f"not found: {problems}")
    print(f"ok: the honest load balances, and {len(SPOILERS) - 1} spoiled ones do not")


def found(spoil, expected, name):
    load = Honest()
    spoil(load)
    accounts = Accounts(load.plan, load.clients, load.workers, load.killed)
    kinds = set(accounts.problems)
    if kinds != expected:
        print(f"{name}: {sorted(kinds)}, not {sorted(expected)}", *accounts.report(), sep="\n")
    return kinds == expected


class Honest:
    """The journals of a load in which everything is right: a worker dies and its job is done by another, a client leaves, and a
    pair of jobs is one job."""

    def __init__(self):
        self.plan = make_plan(3000, seed=1)
        self.clients, self.workers, self.killed = {}, {"worker-00.1": "", "worker-01.1": "", "worker-01.2": ""}, {"worker-01.1"}
        by_unique = {}
        for client in self.plan.clients:
            lines = []
            for number, job in enumerate(jobs_of(client)):
                key = (job.function, job.unique)
                joined = by_unique.get(key) if job.unique != "-" else None
                handle, ran = joined or (f"H:x:{job.id}", job.id)
                by_unique[key] = (handle, ran)
                lines += [f"+ {job.id}", f"a {job.id} {handle}"]
                if not joined:
                    self.workers["worker-01.2" if number % 2 else "worker-00.1"] += f"s {job.id}\ne {job.id}\n"
                if job.mode == "f":
                    lines.append(f"d {job.id} done {ran}")
            self.clients[client.name] = "\n".join([*lines, "."]) + "\n"
        self.foreground = self.first("f")
        self.background = self.first("b")
        self.workers["worker-01.1"] = f"s {self.background}\n"
        last = self.plan.clients[-1]
        self.killed.add(last.name)
        self.clients[last.name] = "".join(f"+ {job.id}\n" for job in jobs_of(last)[:5])
        left = {job.id for job in jobs_of(last)[5:]}
        for name, journal in self.workers.items():
            self.workers[name] = "".join(f"{line}\n" for line in journal.splitlines() if line[2:] not in left)

    def first(self, mode):
        return next(job.id for job in jobs_of(self.plan.clients[0]) if (job.mode, job.unique) == (mode, "-"))

    def edit_client(self, old, new):
        name = self.plan.clients[0].name
        assert old in self.clients[name], old
        self.clients[name] = self.clients[name].replace(old, new, 1)

    def edit_workers(self, old, new):
        assert any(old in journal for journal in self.workers.values()), old
        self.workers = {name: journal.replace(old, new) for name, journal in self.workers.items()}

    def pair(self):
        jobs = [job for client in self.plan.clients for job in jobs_of(client) if job.unique != "-"]
        return next((one, two) for one, two in zip(jobs, jobs[1:]) if one.unique == two.unique)


def lose_a_background_job(load):
    load.edit_workers(f"s {load.background}\ne {load.background}\n", "")
    load.workers["worker-01.1"] = ""


def lose_a_result(load):
    load.edit_client(f"d {load.foreground} done {load.foreground}\n", "")


def double_a_result(load):
    line = f"d {load.foreground} done {load.foreground}\n"
    load.edit_client(line, line * 2)


def confuse_a_result(load):
    load.edit_client(f"d {load.foreground} done {load.foreground}\n", f"d {load.foreground} done {load.background}\n")


def fail_a_job(load):
    load.edit_client(f"d {load.foreground} done {load.foreground}\n", f"f {load.foreground}\n")


def run_twice(load):
    load.workers["worker-00.1"] += f"s {load.foreground}\ne {load.foreground}\n"


def run_twice_after_a_death_of_another_job(load):
    load.workers["worker-01.1"] = f"s {load.foreground}\ne {load.foreground}\n" + load.workers["worker-01.1"] + f"e {load.background}\n"


def run_what_nobody_submitted(load):
    load.workers["worker-00.1"] += "s 99-1\ne 99-1\n"


def lose_an_acknowledgement(load):
    load.edit_client(f"a {load.background} H:x:{load.background}\n", "")


def give_a_handle_twice(load):
    load.edit_client(f"a {load.background} H:x:{load.background}\n", f"a {load.background} H:x:{load.foreground}\n")


def run_both_of_a_pair(load):
    second = load.pair()[1].id
    load.workers["worker-00.1"] += f"s {second}\ne {second}\n"


def stop_a_client(load):
    name = load.plan.clients[0].name
    load.clients[name] = load.clients[name].removesuffix(".\n")


def leave_a_job_unfinished(load):
    load.edit_workers(f"e {load.foreground}\n", "")


SPOILERS = [
    ("nothing", lambda load: None, set()),
    ("a lost background job", lose_a_background_job, {"acknowledged and never done"}),
    ("a lost result", lose_a_result, {"no result"}),
    ("a doubled result", double_a_result, {"more than one result"}),
    ("another job's result", confuse_a_result, {"a wrong result"}),
    ("a failed job", fail_a_job, {"told to have failed", "no result"}),
    ("a job run twice", run_twice, {"ran again, though no worker died of it"}),
    ("a job run again by the death of a worker that had finished it long ago", run_twice_after_a_death_of_another_job, {"ran again, though no worker died of it"}),
    ("a job from nowhere", run_what_nobody_submitted, {"ran, though nobody submitted it"}),
    ("a lost acknowledgement", lose_an_acknowledgement, {"never acknowledged"}),
    ("one handle for two jobs", give_a_handle_twice, {"one handle for different jobs", "both ran, though they are one job"}),
    ("both of a pair", run_both_of_a_pair, {"both ran, though they are one job"}),
    ("a client that stops", stop_a_client, {"a client that did not come to its end"}),
    ("a job without an end", leave_a_job_unfinished, {"left unfinished by a living worker", "a wrong result"}),
]

if __name__ == "__main__":
    assert as_text(make_plan(100, 7).clients[0]) == as_text(make_plan(100, 7).clients[0]), "one seed, one plan"
    main()
