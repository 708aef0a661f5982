"""Says of every job what became of it, from the plan and the journals of all players."""

from collections import Counter, defaultdict

from plan import MODES, PRIORITIES, jobs_of

SHOWN = 20


class Accounts:
    """`clients` and `workers` map a player's name to its journal; a worker that was restarted has several names. `killed` are the
    names of workers and clients that were killed on purpose."""

    def __init__(self, plan, clients, workers, killed):
        self.problems = defaultdict(list)
        self.killed = killed
        self.jobs = {job.id: job for client in plan.clients for job in jobs_of(client)}
        self.client_of = {job.id: client.name for client in plan.clients for job in jobs_of(client)}
        self.submitted, self.failed = set(), set()
        self.handles, self.results = {}, defaultdict(list)
        self.starts, self.ended, self.excused = Counter(), Counter(), Counter()
        for client in plan.clients:
            self._read_client(client, clients.get(client.name, ""))
        for name, journal in workers.items():
            self._read_worker(name, journal)
        self.groups = defaultdict(list)
        for job, handle in self.handles.items():
            self.groups[handle].append(job)
        self._check_runs()
        self._check_handles()
        for job in self.submitted:
            self._check_outcome(self.jobs[job])

    def _read_client(self, client, journal):
        lines = journal.splitlines()
        for line in lines:
            mark, _, rest = line.partition(" ")
            job, _, told = rest.partition(" ")
            if mark == "+":
                self.submitted.add(job)
            elif mark == "a":
                self._unless(job in self.handles, "acknowledged twice", job)
                self.handles[job] = told
            elif mark == "d":
                self.results[job].append(told)
            elif mark == "f":
                self.failed.add(job)
        if client.name not in self.killed:
            self._unless(lines[-1:] != ["."], "a client that did not come to its end", client.name)
            for job in jobs_of(client):
                self._unless(job.id not in self.submitted, "never submitted", job.id)

    def _read_worker(self, name, journal):
        unfinished, last = set(), None
        for line in journal.splitlines():
            mark, _, job = line.partition(" ")
            if mark == "s":
                self.starts[job] += 1
                unfinished.add(job)
            else:
                self.ended[job] += 1
                unfinished.discard(job)
                last = job
        if name in self.killed:
            # The end of the last one may be written here and not yet have reached the server.
            self.excused.update(unfinished | ({last} if last else set()))
        else:
            for job in unfinished:
                self._unless(True, "left unfinished by a living worker", job)

    def _check_runs(self):
        for job, starts in self.starts.items():
            self._unless(job not in self.submitted, "ran, though nobody submitted it", job)
            self._unless(starts - self.excused[job] > 1, "ran again, though no worker died of it", job)

    def _check_handles(self):
        for handle, group in self.groups.items():
            same = {(self.jobs[job].function, self.jobs[job].unique) for job in group}
            self._unless(len(same) > 1 or (len(group) > 1 and same.pop()[1] == "-"), "one handle for different jobs", (handle, *group))
            self._unless(sum(self.starts[job] > 0 for job in group) > 1, "both ran, though they are one job", (handle, *group))

    def _check_outcome(self, job):
        left = self.client_of[job.id] in self.killed
        handle = self.handles.get(job.id)
        group = self.groups[handle] if handle else [job.id]
        results = self.results[job.id]
        self._unless(handle is None and not left, "never acknowledged", job.id)
        self._unless(job.id in self.failed, "told to have failed", job.id)
        self._unless(len(results) > 1, "more than one result", job.id)
        for result in results:
            right = any(result == f"done {other}" and self.ended[other] for other in group)
            self._unless(not right, "a wrong result", (job.id, result))
        if job.mode == "b":
            self._unless(handle is not None and not any(self.ended[other] for other in group), "acknowledged and never done", job.id)
        else:
            self._unless(not results and not left, "no result", job.id)

    def _unless(self, wrong, what, which):
        if wrong:
            self.problems[what].append(which)

    @property
    def interrupted(self):
        """Jobs that a worker's death cut off and that ran again."""
        return sum(count > 1 for count in self.starts.values())

    def table(self):
        columns = "submitted acknowledged joined done again left".split()
        rows = {(mode, priority): Counter() for mode in MODES for priority in PRIORITIES}
        first = {group[0] for group in self.groups.values()}
        for name in self.submitted:
            job = self.jobs[name]
            group = self.groups[self.handles[name]] if name in self.handles else [name]
            done = self.results[name] if job.mode == "f" else any(self.ended[other] for other in group)
            rows[job.mode, job.priority].update(
                submitted=1,
                acknowledged=name in self.handles,
                joined=name in self.handles and name not in first,
                done=bool(done),
                again=self.starts[name] > 1,
                left=not done and self.client_of[name] in self.killed,
            )
        lines = [f"{'':22}" + "".join(f"{column:>14}" for column in columns)]
        for (mode, priority), row in rows.items():
            lines.append(f"{MODES[mode] + ', ' + PRIORITIES[priority]:22}" + "".join(f"{row[column]:14}" for column in columns))
        total = sum(rows.values(), Counter())
        lines.append(f"{'all':22}" + "".join(f"{total[column]:14}" for column in columns))
        return "\n".join(lines)

    def report(self):
        """One line a kind of problem, with the first of the ids."""
        for what, which in sorted(self.problems.items()):
            more = f" and {len(which) - SHOWN} more" if len(which) > SHOWN else ""
            yield f"{what}: {len(which)}: {', '.join(map(str, which[:SHOWN]))}{more}"
