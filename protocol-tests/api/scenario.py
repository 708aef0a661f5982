"""Uses the generated client for all that an application and its operators do. Whatever is not as expected ends it."""

import datetime
import io
import os

from gearhouse_client import Client
from gearhouse_client.api.functions import drop_function, get_function, list_functions, pause_function, purge_function, resume_function
from gearhouse_client.api.jobs import (
    act_on_jobs,
    cancel_job,
    delete_job,
    get_job,
    get_job_log,
    get_job_payload,
    get_job_result,
    hold_job,
    list_jobs,
    release_job,
    retry_job,
    run_job,
    set_job_priority,
    submit_jobs,
    submit_payload,
)
from gearhouse_client.api.policies import change_policy, delete_policy, get_function_policy, get_policy, list_policies, put_policy
from gearhouse_client.api.schedules import (
    change_schedule,
    create_schedule,
    delete_schedule,
    get_schedule,
    list_schedules,
    pause_schedule,
    put_schedule,
    resume_schedule,
    run_schedule,
)
from gearhouse_client.api.server import get_health, get_load, get_metrics, get_readiness, get_server, list_audit
from gearhouse_client.api.workers import disconnect_worker, get_worker, list_clients, list_workers, stop_worker
from gearhouse_client.models import (
    FinishedJob,
    Job,
    JobAction,
    JobActions,
    JobEnd,
    JobFilter,
    JobOutcomes,
    JobPart,
    JobState,
    NewJob,
    NewPolicy,
    NewPriority,
    NewSchedule,
    Order,
    Overlap,
    Priority,
    Problem,
    ScheduleChange,
    ServerState,
    Submitted,
)
from gearhouse_client.types import UNSET, File

import world

CLIENT = Client(base_url=os.environ["API"], raise_on_unexpected_status=True)


def ask(operation, *arguments, expected=200, **more):
    """What an operation answers, which must have this status."""
    answer = operation.sync_detailed(*arguments, client=CLIENT, **more)
    assert answer.status_code == expected, (operation.__name__, answer)
    return answer.parsed


def refused(operation, *arguments, status, kind, **more):
    """The problem that an operation answers."""
    problem = ask(operation, *arguments, expected=status, **more)
    assert isinstance(problem, Problem), problem
    assert (problem.type_, problem.status) == (f"/problems/{kind}", status), problem
    assert problem.title and problem.detail, problem
    return problem


def submit(function, **fields):
    answer = ask(submit_jobs, body=NewJob(function=function, **fields), expected=201)
    assert isinstance(answer, Submitted), answer
    return answer.handle


def state(handle):
    job = ask(get_job, handle)
    assert isinstance(job, Job), job
    return job.state


def server():
    world.wait_for("the server is ready", world.is_ready)
    assert get_health.sync_detailed(client=CLIENT).content == b"ok\n"
    assert get_readiness.sync_detailed(client=CLIENT).status_code == 200
    facts = ask(get_server)
    assert facts.state == ServerState.SERVING and facts.store.ready and facts.store.directory, facts
    assert facts.started < datetime.datetime.now(datetime.timezone.utc), facts
    tag = get_server.sync_detailed(client=CLIENT).headers["etag"]
    # Between the two nothing may have changed; the facts have none that change by themselves.
    ask(get_server, expected=304, if_none_match=tag)
    assert b"gearhouse_" in get_metrics.sync_detailed(client=CLIENT).content


def jobs():
    # No time-out for what nobody takes.
    ask(put_policy, "app.*", body=NewPolicy(wait_timeout=0, keep_succeeded="1h"))
    finished = ask(submit_jobs, body=NewJob(function="echo", payload="hello", keep=60), wait=True)
    assert isinstance(finished, FinishedJob) and finished.state == JobEnd.SUCCEEDED, finished
    assert finished.result == "hello" and finished.exception is UNSET, finished
    assert ask(get_job_result, finished.handle).payload.read() == b"hello"
    raw = ask(submit_payload, "echo", body=File(io.BytesIO(b"\xff\0")), wait=True)
    assert isinstance(raw, FinishedJob) and raw.result_base64 == "/wA=", raw

    many = ask(submit_jobs, body=[NewJob(function="app.a", payload=str(index), priority=Priority.LOW) for index in range(30)])
    assert isinstance(many, JobOutcomes) and all(item.problem is UNSET for item in many.items), many
    handles = [item.handle for item in many.items]
    waited = ask(submit_jobs, body=[NewJob(function="echo", payload="1"), NewJob(function="echo", payload="2")], wait=True)
    assert [(item.state, item.result) for item in waited.items] == [("succeeded", "1"), ("succeeded", "2")], waited
    again = [submit_jobs.sync(client=CLIENT, body=NewJob(function="app.b"), idempotency_key="once") for _ in range(2)]
    assert again[0].handle == again[1].handle, again
    at = datetime.datetime(2096, 1, 1, tzinfo=datetime.timezone.utc)
    assert ask(get_job, submit("app.b", at=at)).due == at

    found, after = [], UNSET
    while after is not None:
        page = ask(list_jobs, function="app.a", limit=7, after=after)
        found, after = found + [job.handle for job in page.items], page.next_
    assert found == handles, found
    assert len(ask(list_jobs, payload="2", function="app.a", state=JobState.QUEUED, priority=Priority.LOW).items) == 12
    part = ask(get_job, handles[0], fields="handle,state")
    assert type(part) is JobPart and (part.handle, part.state) == (handles[0], JobState.QUEUED), part
    assert part.function is UNSET, part
    assert ask(get_job_payload, handles[7]).payload.read() == b"7"

    first = handles[0]
    assert ask(hold_job, first).outcome == "held" and state(first) == JobState.HELD
    assert ask(release_job, first).outcome == "queued"
    assert ask(set_job_priority, first, body=NewPriority(priority=Priority.HIGH)).outcome == "moved"
    assert ask(cancel_job, first).outcome == "cancelled"
    refused(cancel_job, first, status=409, kind="not-possible")
    assert ask(retry_job, first).outcome == "queued"
    assert ask(run_job, submit("app.b", delay=3600)).outcome == "queued"
    log = ask(get_job_log, first)
    assert [entry.what for entry in log.items][:3] == ["submitted", "held", "released"] and log.next_ is None, log
    assert log.items[0].at.tzinfo and log.items[0].serial < log.items[1].serial, log
    assert ask(delete_job, first).outcome == "deleted"
    refused(get_job, first, status=404, kind="not-found")

    everything = JobFilter(function="app.a")
    counted = ask(act_on_jobs, body=JobActions(action=JobAction.CANCEL, filter_=everything, dry_run=True))
    assert (counted.matched, counted.done, counted.results) == (29, 0, []), counted
    done = ask(act_on_jobs, body=JobActions(action=JobAction.CANCEL, handles=handles[:3]))
    assert (done.matched, done.done) == (3, 2) and "no such job" in done.results[0].reason, done
    done = ask(act_on_jobs, body=JobActions(action=JobAction.CANCEL, filter_=everything))
    assert (done.matched, done.done, done.next_) == (27, 27, None), done
    assert {row.target for row in ask(list_audit, limit=1).items} == {'{"function":"app.a"}'}


def problems():
    assert "`delay` or `at`" in refused(
        submit_jobs, body=NewJob(function="f", delay=1, at=datetime.datetime.now().astimezone()), status=422, kind="invalid"
    ).detail
    refused(get_job, "H:nowhere:1", status=404, kind="not-found")
    refused(list_jobs, limit=0, status=422, kind="invalid")
    ask(put_policy, "app.full", body=NewPolicy(max_waiting=1))
    some = ask(submit_jobs, body=[NewJob(function="app.full")] * 2)
    assert some.items[0].handle and some.items[1].problem.code == "QUEUE_ERROR", some


def policies():
    policy = ask(put_policy, "app.x", body=NewPolicy(attempts=3, backoff="1m 30s", order=Order.LIFO, rate=0.5))
    assert (policy.pattern, policy.origin, policy.policy.attempts, policy.policy.backoff) == ("app.x", "operator", 3, 90)
    policy = ask(change_policy, "app.x", body=NewPolicy(attempts=None, lease=7.5))
    assert (policy.policy.attempts, policy.policy.lease) == (UNSET, 7.5) and policy.policy.order == Order.LIFO, policy
    assert ask(get_policy, "app.x") == policy
    held = ask(get_function_policy, "app.x")
    assert held.rules.lease == 7.5 and held.sources.to_dict()["lease"] == "operator app.x", held
    assert held.rules.attempts == 0 and held.sources["attempts"] == "default", held
    assert "app.x" in [row.pattern for row in ask(list_policies).items]
    ask(delete_policy, "app.x", expected=204)
    refused(get_policy, "app.x", status=404, kind="not-found")


def functions():
    assert ask(pause_function, "app.p").paused
    handle = submit("app.p")
    row = ask(get_function, "app.p")
    assert row.paused and row.queued.normal == 1 and row.limits.high is None and row.highest_priority == Priority.NORMAL, row
    assert not ask(resume_function, "app.p").paused
    assert handle and "app.p" in [row.function for row in ask(list_functions, function="app.*").items]
    refused(drop_function, "app.p", status=409, kind="in-use")
    assert ask(purge_function, "app.p").purged == 1
    ask(drop_function, "app.p", expected=204)


def schedules():
    asked = NewSchedule(function="app.s", unique="daily", cron="30 8 * * Mon-Fri", zone="Europe/Berlin", overlap=Overlap.SKIP)
    made = ask(create_schedule, body=asked, expected=201)
    assert made.words and len(made.next_runs) > 1 and made.next_run.tzinfo, made
    assert ask(create_schedule, body=asked).handle == made.handle, "there was one"
    other = ask(create_schedule, body=NewSchedule(function="app.s", unique="other", cron="0 0 * * *"), expected=201)
    refused(change_schedule, other.handle, body=ScheduleChange(unique="daily"), status=409, kind="not-possible")
    refused(put_schedule, other.handle, body=asked, status=409, kind="not-possible")
    changed = ask(change_schedule, made.handle, body=ScheduleChange(cron="0 9 * * *", zone=None))
    assert (changed.cron, changed.zone, changed.overlap) == ("0 9 * * *", "UTC", Overlap.SKIP), changed
    assert ask(pause_schedule, made.handle).paused
    job = ask(run_schedule, made.handle).handle
    assert ask(get_job, job).unique == "daily"
    assert not ask(resume_schedule, made.handle).paused
    assert not ask(put_schedule, made.handle, body=asked).paused
    assert ask(get_schedule, made.handle).handle in [row.handle for row in ask(list_schedules).items]
    for handle in (made.handle, other.handle):
        ask(delete_schedule, handle, expected=204)
    refused(run_schedule, made.handle, status=404, kind="not-found")


def workers():
    worker = world.Worker("app.w")
    handle = submit("app.w")
    assert worker.grab() == handle.encode()
    row = ask(list_workers, function="app.w").items[0]
    assert row.client_id == "test" and row.functions[0].function == "app.w" and row.running == [handle], row
    assert ask(get_job, handle).worker.id == row.id
    assert ask(stop_worker, row.id).draining and ask(get_worker, row.id).draining
    assert row.id in [client.id for client in ask(list_clients).items]
    ask(disconnect_worker, row.id)
    world.wait_for("it is gone", lambda: get_worker.sync_detailed(row.id, client=CLIENT).status_code == 404)


def load():
    steps = world.wait_for("a second passes", lambda: ask(get_load, step=1).items)
    step = steps[-1]
    assert step.seconds >= 1 and step.waiting.normal >= 0 and step.mean.running >= 0 and step.at.tzinfo, step
    to = datetime.datetime.now(datetime.timezone.utc)
    busy = world.wait_for(
        "jobs that ran are told of",
        lambda: [step for step in ask(get_load, function="echo", from_=to - datetime.timedelta(hours=1)).items if step.run],
    )
    assert busy[0].run.count > 0 and busy[0].run.p99 >= busy[0].run.p50, busy


for part in (server, jobs, problems, policies, functions, schedules, workers, load):
    part()
    print("ok", part.__name__)
