//! What operators do to jobs: to one, to several, and to all that a search finds.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Operator};
use super::answer::json;
use super::body;
use super::filter::{Asked, Filter, begin};
use super::jobs::{find, no_job};
use super::page::{self, gather};
use super::params::{Name, PriorityName};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use crate::broker::{BATCH, Broker, turn};
use crate::engine::view::{JobRow, JobState};
use crate::engine::{Action, Did, Engine, Undone};
use crate::policy::whole;
use crate::types::{JobId, RecordNo, Timestamp};

/// Jobs of one request.
const MOST: usize = page::MOST;

/// Jobs that one request counts.
const MOST_COUNTED: usize = 1_000_000;

/// Handles that the audit names of one request.
const MOST_NAMED: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(many))
        .routes(routes!(cancel))
        .routes(routes!(hold))
        .routes(routes!(release))
        .routes(routes!(retry))
        .routes(routes!(run))
        .routes(routes!(priority))
        .routes(routes!(delete))
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobAction)]
enum ActionName {
    /// The job ends: at once, or when its worker is done with it, and is never run again.
    Cancel,
    /// It is taken out of the line until it is released.
    Hold,
    /// It goes back into the line.
    Release,
    /// A job that is over, or waits for its next attempt, is queued at once, with as many attempts as a new one.
    Retry,
    /// A job that is not due yet is queued at once.
    Run,
    /// It gets another priority.
    Priority,
    /// It is gone, and nothing is kept of it.
    Delete,
}

/// The priority that a job is to have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPriority {
    priority: PriorityName,
}

/// An action on several jobs: those that are named, or those that a filter finds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobActions)]
struct Actions {
    action: ActionName,
    /// For the action `priority`.
    priority: Option<PriorityName>,
    /// The jobs: 1000 at most.
    #[schema(max_items = 1000)]
    handles: Option<Vec<String>>,
    /// Or all jobs that fit this, and are in a state in which the action means something. `{}`: all.
    filter: Option<Filter>,
    /// Does nothing: tells how many it would be done to, and of those that were named to which not, and why.
    #[serde(default)]
    dry_run: bool,
    /// With a filter: not to more jobs than this.
    #[serde(default, deserialize_with = "whole::deserialize")]
    #[schema(minimum = 1)]
    limit: Option<u64>,
    /// The `next` of the answer before.
    after: Option<String>,
}

/// What was done to a job.
#[derive(Serialize, ToSchema)]
#[schema(as = JobDone)]
struct Done {
    handle: String,
    /// `cancelled`, `cancelling` (its worker still has it), `held`, `queued`, `scheduled`, `moved`, `deleted`; or `not_done`.
    outcome: &'static str,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What was done to several jobs.
#[derive(Serialize, ToSchema)]
#[schema(as = JobsDone)]
struct ManyDone {
    /// Jobs that this answer is about; of a dry run those to which it would be done.
    matched: usize,
    /// Those of them to which it was done.
    done: usize,
    results: Vec<Done>,
    /// There may be more: give this as `after` to go on; null: that was all.
    #[schema(required = true)]
    next: Option<String>,
}

fn action(name: ActionName, priority: Option<PriorityName>) -> Result<Action, Problem> {
    let action = match (name, priority) {
        (ActionName::Priority, Some(priority)) => return Ok(Action::Priority(priority.into())),
        (ActionName::Priority, None) => {
            return Err(Problem::new(Kind::INVALID, "The action `priority` needs a `priority`"));
        }
        (_, Some(_)) => return Err(Problem::new(Kind::INVALID, "`priority` is for the action `priority`")),
        (ActionName::Cancel, None) => Action::Cancel,
        (ActionName::Hold, None) => Action::Hold,
        (ActionName::Release, None) => Action::Release,
        (ActionName::Retry, None) => Action::Retry,
        (ActionName::Run, None) => Action::Run,
        (ActionName::Delete, None) => Action::Delete,
    };
    Ok(action)
}

/// How it is called in the audit.
fn word(action: Action) -> &'static str {
    match action {
        Action::Cancel => "cancel",
        Action::Hold => "hold",
        Action::Release => "release",
        Action::Retry => "retry",
        Action::Run => "run",
        Action::Priority(priority) => match PriorityName::from(priority) {
            PriorityName::High => "priority high",
            PriorityName::Normal => "priority normal",
            PriorityName::Low => "priority low",
        },
        Action::Delete => "delete",
    }
}

fn outcome(did: Did) -> &'static str {
    match did {
        Did::Cancelled => "cancelled",
        Did::Cancelling => "cancelling",
        Did::Held => "held",
        Did::Queued => "queued",
        Did::Scheduled => "scheduled",
        Did::Moved => "moved",
        Did::Deleted => "deleted",
    }
}

/// Whether an action on all that a filter finds is meant for a job in this state. So nothing is done twice to a job that goes
/// to the end of the list by it. What has succeeded is tried again only if the filter says so.
fn is_meant(action: Action, filter_state: Option<JobState>, row: &JobRow) -> bool {
    use JobState::{Cancelled, Failed, Held, Queued, Running, Scheduled, Succeeded};
    // Of a line in the list of the latest there is nothing to act on.
    !row.is_only_line()
        && match action {
            Action::Cancel => matches!(row.state, Scheduled | Queued | Held | Running),
            Action::Hold => matches!(row.state, Scheduled | Queued),
            Action::Release => row.state == Held,
            Action::Retry => match row.state {
                Failed | Cancelled => true,
                Succeeded => filter_state == Some(Succeeded),
                Scheduled => row.attempts > 0,
                _ => false,
            },
            Action::Run => row.state == Scheduled,
            Action::Priority(priority) => {
                matches!(row.state, Scheduled | Queued | Held) && row.priority != priority
            }
            Action::Delete => !matches!(row.state, Running | JobState::Cancelling),
        }
}

/// The body of a request, as JSON.
async fn read<T: DeserializeOwned>(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let received = shared.bodies.read(headers, body).await?;
    body::must_be(body::JSON, headers)?;
    serde_json::from_slice(&received.bytes).map_err(|error| {
        let kind = if error.is_data() { Kind::INVALID } else { Kind::UNREADABLE };
        Problem::new(kind, error.to_string())
    })
}

/// Does something to so many jobs as go into one batch.
async fn act(
    broker: &Broker,
    now: Timestamp,
    jobs: &[JobId],
    action: Action,
) -> (Vec<Result<Did, Undone>>, RecordNo) {
    if !broker.has_room() {
        broker.room().await;
    }
    let done = broker.control(now, jobs, action);
    turn::pass().await;
    done
}

/// The answer may be given now: what it tells of is safe.
async fn safe(shared: &Shared, broker: &Broker, record: RecordNo) -> Result<(), Problem> {
    let safe = broker.safe(record).await;
    shared.written().await;
    safe.map_err(Problem::from)
}

fn to_done(handle: String, result: Result<Did, Undone>) -> Done {
    match result {
        Ok(did) => Done { handle, outcome: outcome(did), reason: None },
        Err(undone) => Done { handle, outcome: "not_done", reason: Some(undone.to_string()) },
    }
}

/// Does something to the one job that a path names.
async fn one(
    shared: &Shared,
    broker: &Broker,
    caller: &Caller,
    name: &Name,
    action: Action,
) -> Result<Response, Problem> {
    let row = find(broker, caller, name)?;
    let (mut results, record) = act(broker, shared.clock.now(), &[row.id], action).await;
    let result = results.pop().unwrap_or(Err(Undone::Unknown));
    let said = match &result {
        Ok(did) => outcome(*did).to_owned(),
        Err(undone) => format!("not done: {undone}"),
    };
    shared.note_audit(caller, word(action), row.handle.clone(), said);
    safe(shared, broker, record).await?;
    match result {
        Ok(_) => json(StatusCode::OK, &to_done(row.handle, result)),
        Err(Undone::Unknown) => Err(no_job(name)),
        Err(Undone::Refused(refusal)) => Err(refusal.into()),
        Err(undone) => Err(Problem::new(Kind::CONFLICT, capitalised(&undone.to_string()))),
    }
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

macro_rules! on_one {
    ($($name:ident $id:literal $method:ident $path:literal $summary:literal $about:literal $action:expr;)*) => {$(
        #[doc = $summary]
        #[doc = ""]
        #[doc = $about]
        #[utoipa::path($method, operation_id = $id, path = $path, tag = "jobs", params(("handle" = String, Path)),
            responses(
                (status = 200, description = "It is done, and safe", body = Done),
                (status = "default", description = "A problem", body = Described,
                    content_type = "application/problem+json")))]
        async fn $name(
            State(shared): State<Arc<Shared>>,
            Queues(broker): Queues,
            Operator(caller): Operator,
            name: Name,
        ) -> Result<Response, Problem> {
            one(&shared, &broker, &caller, &name, $action).await
        }
    )*};
}

on_one! {
    cancel "cancel_job" post "/jobs/{handle}/cancel" "Cancel a job"
        "It ends at once; if a worker has it, it ends when that is done with it, whatever that says, and its clients are \
         told now."
        Action::Cancel;
    hold "hold_job" post "/jobs/{handle}/hold" "Hold a job"
        "It is not handed out until it is released." Action::Hold;
    release "release_job" post "/jobs/{handle}/release" "Release a job that is held"
        "It goes back into its place in the line." Action::Release;
    retry "retry_job" post "/jobs/{handle}/retry" "Try a job again"
        "One that is over and kept, or waits for its next attempt, is queued at once, with as many attempts as a new one."
        Action::Retry;
    run "run_job" post "/jobs/{handle}/run" "Run a delayed job now"
        "It is queued at once." Action::Run;
    delete "delete_job" delete "/jobs/{handle}" "Delete a job"
        "It is gone, and nothing is kept of it. One that a worker has cannot be deleted: cancel it." Action::Delete;
}

/// Give a job another priority
#[utoipa::path(post, operation_id = "set_job_priority", path = "/jobs/{handle}/priority", tag = "jobs", params(("handle" = String, Path)),
    request_body = NewPriority,
    responses(
        (status = 200, description = "It is done, and safe", body = Done),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn priority(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Operator(caller): Operator,
    name: Name,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let NewPriority { priority } = read(&shared, &headers, body).await?;
    one(&shared, &broker, &caller, &name, Action::Priority(priority.into())).await
}

/// Act on many jobs
///
/// On those that `handles` names, or on all that `filter` finds: then some at a time, until `next` is null. With `dry_run`
/// nothing is done: it tells how many it would be done to, and of `handles` to which it would not. An action on what a filter finds leaves out jobs in a state in which it means nothing, and `retry`
/// also those that succeeded, unless the filter says `"state": "succeeded"`.
///
/// What an answer tells is safe on disk. What was asked is done also if the caller does not wait for the answer.
#[utoipa::path(post, operation_id = "act_on_jobs", path = "/jobs/actions", tag = "jobs", request_body = Actions,
    responses(
        (status = 200, description = "What was done", body = ManyDone),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn many(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Operator(caller): Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let actions: Actions = read(&shared, &headers, body).await?;
    let action = action(actions.action, actions.priority)?;
    let Actions { handles, filter, dry_run, after, limit, .. } = actions;
    if limit == Some(0) {
        return Err(Problem::new(Kind::INVALID, "`limit` must be at least 1"));
    }
    // Goes on although the caller may go: what was done must be in the audit.
    let done = match (handles, filter) {
        (Some(handles), None) if after.is_none() && limit.is_none() => {
            if handles.len() > MOST {
                let detail = format!("At most {MOST} jobs at once, not {}", handles.len());
                return Err(Problem::new(Kind::INVALID, detail));
            }
            tokio::spawn(async move {
                if dry_run {
                    return Ok(try_on_named(&broker, &caller, handles, action).await);
                }
                on_named(&shared, &broker, &caller, handles, action).await
            })
        }
        (None, Some(filter)) => tokio::spawn(async move {
            on_found(&shared, &broker, &caller, Wanted { filter, after, limit, dry_run }, action).await
        }),
        _ => {
            let detail = "Say `handles`, or `filter` with, if need be, `limit` and, to go on, `after`";
            return Err(Problem::new(Kind::INVALID, detail));
        }
    };
    let done = done.await.map_err(|error| Problem::new(Kind::BROKEN, error.to_string()))??;
    json(StatusCode::OK, &done)
}

/// The job of a handle, if the caller may see it.
fn visible(engine: &Engine, caller: &Caller, handle: &str) -> Option<JobId> {
    let row = engine.job_row(engine.parse_handle(handle.as_bytes())?)?;
    caller.sees(&row.function).then_some(row.id)
}

/// Tells to which of the jobs it would not be done.
async fn try_on_named(broker: &Broker, caller: &Caller, handles: Vec<String>, action: Action) -> ManyDone {
    let count = handles.len();
    let mut undone = Vec::new();
    for handles in handles.chunks(BATCH) {
        let objection = |engine: &Engine, handle: &String| {
            let id = visible(engine, caller, handle).ok_or(Undone::Unknown);
            id.and_then(|id| engine.may(id, action)).err()
        };
        broker.view(|engine| {
            let found = handles.iter().filter_map(|handle| Some((handle, objection(engine, handle)?)));
            undone.extend(found.map(|(handle, undone)| to_done(handle.clone(), Err(undone))));
        });
        turn::pass().await;
    }
    many_done(count - undone.len(), undone, None)
}

async fn on_named(
    shared: &Shared,
    broker: &Broker,
    caller: &Caller,
    handles: Vec<String>,
    action: Action,
) -> Result<ManyDone, Problem> {
    let mut results = Vec::with_capacity(handles.len());
    let mut last = RecordNo::NONE;
    for handles in handles.chunks(BATCH) {
        let ids: Vec<Option<JobId>> =
            broker.view(|engine| handles.iter().map(|handle| visible(engine, caller, handle)).collect());
        let there: Vec<JobId> = ids.iter().flatten().copied().collect();
        let (done, record) = act(broker, shared.clock.now(), &there, action).await;
        last = last.max(record);
        let mut done = done.into_iter();
        results.extend(handles.iter().zip(ids).map(|(handle, id)| {
            let result = id.and_then(|_| done.next()).unwrap_or(Err(Undone::Unknown));
            to_done(handle.clone(), result)
        }));
    }
    let more = handles.len().saturating_sub(MOST_NAMED);
    let mut target = handles[..handles.len() - more].join(" ");
    if more > 0 {
        target.push_str(&format!(" and {more} more"));
    }
    note(shared, caller, action, target, &results);
    safe(shared, broker, last).await?;
    Ok(many_done(results.len(), results, None))
}

/// Jobs that a filter finds, and how much is to be made of them.
struct Wanted {
    filter: Filter,
    after: Option<String>,
    limit: Option<u64>,
    dry_run: bool,
}

async fn on_found(
    shared: &Shared,
    broker: &Arc<Broker>,
    caller: &Caller,
    wanted: Wanted,
    action: Action,
) -> Result<ManyDone, Problem> {
    let Wanted { filter, after, limit, dry_run } = wanted;
    let target = serde_json::to_string(&filter).unwrap_or_default();
    let asked = Asked::new(broker, filter, shared.clock.now())?;
    let filter = asked.filter(caller.functions());
    let from = begin(&filter, after.as_deref())?;
    let most = |most: usize| limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(most).min(most);
    let state = filter.state;
    let look = |from: &_, bounds| broker.view(|engine| engine.job_rows(&filter, *from, bounds));
    let wanted = async |found| -> Result<Vec<JobRow>, Problem> {
        let mut rows = asked.decide(broker, found).await?;
        rows.retain(|row| is_meant(action, state, row));
        Ok(rows)
    };
    if dry_run {
        let count = async |found| Ok(vec![(); wanted(found).await?.len()]);
        let page = gather(from, most(MOST_COUNTED), look, count).await?;
        return Ok(many_done(page.items.len(), Vec::new(), page.next));
    }
    let act_on = async |found| {
        let rows = wanted(found).await?;
        let mut results = Vec::with_capacity(rows.len());
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let rows: Vec<JobRow> = rows.by_ref().take(BATCH).collect();
            let ids: Vec<JobId> = rows.iter().map(|row| row.id).collect();
            let (done, record) = act(broker, shared.clock.now(), &ids, action).await;
            results.extend(rows.into_iter().zip(done).map(|(row, done)| (to_done(row.handle, done), record)));
        }
        Ok(results)
    };
    let page = gather(from, most(MOST), look, act_on).await;
    let page = match page {
        Ok(page) => page,
        Err(problem) => {
            shared.note_audit(caller, word(action), target, format!("stopped: {}", problem.to_json()));
            return Err(problem);
        }
    };
    let last = page.items.iter().map(|(_, record)| *record).max().unwrap_or(RecordNo::NONE);
    let results: Vec<Done> = page.items.into_iter().map(|(done, _)| done).collect();
    if !results.is_empty() {
        note(shared, caller, action, target, &results);
    }
    safe(shared, broker, last).await?;
    Ok(many_done(results.len(), results, page.next))
}

fn many_done(matched: usize, results: Vec<Done>, next: Option<String>) -> ManyDone {
    let done = results.iter().filter(|done| done.reason.is_none()).count();
    ManyDone { matched, done, results, next }
}

fn note(shared: &Shared, caller: &Caller, action: Action, target: String, results: &[Done]) {
    let done = results.iter().filter(|done| done.reason.is_none()).count();
    shared.note_audit(caller, word(action), target, format!("done to {done} of {}", results.len()));
}
