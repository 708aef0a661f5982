//! Jobs: searched, looked at, and their payloads.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::polled;
use super::document::JobPart;
use super::filter::{Asked, Filter, StateName, begin, read_stored};
use super::page::{self, gather};
use super::params::{KnownTag, Name, Params, PriorityName};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::submit;
use super::values::{Moment, Raw, text_or_base64};
use crate::broker::Broker;
use crate::engine::Reason;
use crate::engine::view::{JobRow, Payload};
use crate::policy::{Terms, seconds, whole};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list, submit::submit))
        .routes(routes!(submit::submit_payload))
        .routes(routes!(get))
        .routes(routes!(payload))
}

/// A job.
#[derive(Serialize, ToSchema)]
pub(super) struct Job {
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_base64: Option<String>,
    /// The unique id; empty if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_base64: Option<String>,
    state: StateName,
    priority: PriorityName,
    /// Whether it stays although no one waits.
    background: bool,
    /// When it was submitted; missing if an older version did not write that down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    submitted: Option<Moment>,
    /// Not to be handed out before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    due: Option<Moment>,
    /// When it was first handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    first_start: Option<Moment>,
    /// When it was handed out last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_start: Option<Moment>,
    /// When its worker must be done, or when it is given up if it has not started by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Moment>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended: Option<Moment>,
    /// Why it failed: `failed`, `exception`, `timed_out`, `lost`, `lease_expired` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Until when it is kept after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    retained_until: Option<Moment>,
    /// How often it was handed out.
    attempts: u32,
    /// How often that came to nothing.
    losses: u32,
    /// The reducer of a reduce job.
    #[serde(skip_serializing_if = "Option::is_none")]
    reducer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reducer_base64: Option<String>,
    /// What its submit asked for, beside `mime`; it counts before the policy of its function.
    #[serde(skip_serializing_if = "AskedFor::is_nothing")]
    #[schema(required = false)]
    asked: AskedFor,
    /// MIME type of its result, as its submit said.
    #[serde(skip_serializing_if = "Option::is_none")]
    mime: Option<String>,
    /// Bytes of its result; missing if it has none, or that is on disk only: after a restart, or while memory is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_size: Option<u64>,
    /// How far its worker says that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Who has it; of one that succeeded and of which only a line is kept: who had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<Worker>,
    /// How many submits wait for it.
    waiting_clients: usize,
    /// Bytes of its payload.
    payload_size: u32,
}

/// What a submit asked for.
#[derive(Serialize, ToSchema, PartialEq, Default)]
#[schema(as = JobAsked)]
struct AskedFor {
    /// How often it may be handed out, at most; 0: as often as need be.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// How long an attempt may run, in seconds; 0: as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_timeout: Option<f64>,
    /// How long it is kept after its end, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<f64>,
}

impl AskedFor {
    fn is_nothing(&self) -> bool {
        *self == AskedFor::default()
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Progress {
    pub numerator: u32,
    pub denominator: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = JobWorker)]
pub(super) struct Worker {
    id: u64,
    address: String,
    client_id: String,
}

impl From<JobRow> for Job {
    fn from(row: JobRow) -> Self {
        let (function, function_base64) = text_or_base64(&row.function);
        let (unique, unique_base64) = text_or_base64(&row.unique);
        let (reducer, reducer_base64) =
            if row.reducer.is_empty() { (None, None) } else { text_or_base64(&row.reducer) };
        let Terms { attempts, run_timeout, keep, mime, trace: _ } = row.terms;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Job {
            handle: row.handle,
            function,
            function_base64,
            unique,
            unique_base64,
            state: row.state.into(),
            priority: row.priority.into(),
            background: row.background,
            submitted: row.submitted.map(Moment),
            due: row.due.map(Moment),
            first_start: row.first_start.map(Moment),
            last_start: row.last_start.map(Moment),
            deadline: row.deadline.map(Moment),
            ended: row.ended.map(Moment),
            reason: row.reason.map(Reason::name),
            retained_until: row.kept_until.map(Moment),
            attempts: row.attempts,
            losses: row.losses,
            reducer,
            reducer_base64,
            asked: AskedFor { attempts, run_timeout: seconds(run_timeout), keep: seconds(keep) },
            mime,
            result_size: row.result_size,
            progress: row
                .progress
                .map(|numbers| Progress { numerator: numbers.numerator, denominator: numbers.denominator }),
            worker: row.worker.map(|worker| Worker {
                id: worker.id.0,
                address: worker.address.to_string(),
                client_id: worker.client_id.into(),
            }),
            waiting_clients: row.waiting_clients,
            payload_size: row.payload_size,
        }
    }
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
struct JobPage {
    items: Vec<Job>,
    /// Give this as `after` for the next page; null: this is the last.
    #[schema(required = true)]
    next: Option<String>,
    /// Jobs that were looked at for this page. A search that takes long stops with what it has found so far, which may be
    /// nothing; `next` is given then.
    looked_at: usize,
}

/// Which jobs are asked for: those that fit everything said.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Where they are in their life.
    state: Option<StateName>,
    /// Their function; `*` stands for any text.
    function: Option<String>,
    priority: Option<PriorityName>,
    /// Their unique id.
    unique: Option<String>,
    /// The connection that has them.
    #[serde(default, deserialize_with = "whole::in_address")]
    worker: Option<u64>,
    /// Their handle.
    handle: Option<String>,
    /// Submitted so long ago, or longer.
    #[serde(default, deserialize_with = "seconds::in_address")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    min_age: Option<Duration>,
    /// Submitted so long ago, or less.
    #[serde(default, deserialize_with = "seconds::in_address")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    max_age: Option<Duration>,
    /// Text that their payload has in it.
    payload: Option<String>,
    /// Most jobs of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl Search {
    fn split(self) -> (Filter, Option<String>) {
        let Search {
            state,
            function,
            priority,
            unique,
            worker,
            handle,
            min_age,
            max_age,
            payload,
            limit: _,
            after,
        } = self;
        (Filter { state, function, priority, unique, worker, handle, min_age, max_age, payload }, after)
    }
}

/// Search jobs
///
/// Without a filter they come by age, and after them, the latest first, those that succeeded lately and of which nothing else
/// is kept. The order is that of service for `state=queued` with one function, and that of
/// their due times for `state=scheduled`.
#[utoipa::path(get, operation_id = "list_jobs", path = "/jobs", tag = "jobs", params(KnownTag, Search),
    responses(
        (status = 200, description = "A page of them", body = JobPage, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(search): Params<Search>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = page::limit(search.limit)?;
    let (filter, after) = search.split();
    let asked = Asked::new(&broker, filter, shared.clock.now())?;
    let filter = asked.filter(caller.functions());
    let from = begin(&filter, after.as_deref())?;
    let page = gather(
        from,
        limit,
        |from, bounds| broker.view(|engine| engine.job_rows(&filter, *from, bounds)),
        |found| asked.decide(&broker, found),
    );
    let page = page.await?;
    let items = page.items.into_iter().map(Job::from).collect();
    polled(&headers, &JobPage { items, next: page.next, looked_at: page.looked })
}

/// Which fields are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Fields {
    /// Only these fields, separated by commas.
    fields: Option<String>,
}

#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of `get`")]
enum JobOrPart {
    Whole(Box<Job>),
    Part(JobPart),
}

/// One job
#[utoipa::path(get, operation_id = "get_job", path = "/jobs/{handle}", tag = "jobs", params(("handle" = String, Path), KnownTag, Fields),
    responses(
        (status = 200, description = "The job, or what was asked for of it", body = JobOrPart, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn get(
    Queues(broker): Queues,
    Reader(caller): Reader,
    name: Name,
    Params(Fields { fields }): Params<Fields>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&broker, &caller, &name)?;
    let job = serde_json::to_value(Job::from(row))
        .map_err(|error| Problem::new(Kind::BROKEN, error.to_string()))?;
    let job = match (job, fields) {
        (Value::Object(mut job), Some(fields)) => {
            let fields: Vec<&str> = fields.split(',').map(str::trim).collect();
            if let Some(unknown) = fields.iter().find(|field| !FIELDS.contains(field)) {
                return Err(Problem::new(Kind::INVALID, format!("A job has no field {unknown:?}")));
            }
            job.retain(|field, _| fields.contains(&field.trim_end_matches("_base64")));
            Value::Object(job)
        }
        (job, _) => job,
    };
    polled(&headers, &job)
}

/// Fields that may be asked for.
pub(super) const FIELDS: [&str; 24] = [
    "handle",
    "function",
    "unique",
    "state",
    "priority",
    "background",
    "submitted",
    "due",
    "first_start",
    "last_start",
    "deadline",
    "ended",
    "reason",
    "retained_until",
    "attempts",
    "losses",
    "reducer",
    "asked",
    "mime",
    "result_size",
    "progress",
    "worker",
    "waiting_clients",
    "payload_size",
];

/// A job's payload, as it was submitted
#[utoipa::path(get, operation_id = "get_job_payload", path = "/jobs/{handle}/payload", tag = "jobs", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "All of it", body = inline(Raw), content_type = "application/octet-stream"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn payload(Queues(broker): Queues, Reader(caller): Reader, name: Name) -> Result<Response, Problem> {
    let row = find(&broker, &caller, &name)?;
    let gone = || if row.is_only_line() { not_kept(&row) } else { no_job(&name) };
    let payload = match broker.view(|engine| engine.payload(row.id)).ok_or_else(gone)? {
        Payload::Whole(payload) => payload,
        Payload::Stored => {
            let found =
                read_stored(&broker, vec![(row.id, row.payload_size)], Bytes::copy_from_slice).await?;
            found.into_iter().next().flatten().ok_or_else(gone)?
        }
    };
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
    Ok((kind, payload).into_response())
}

/// The job that a path names, if the caller may see it.
pub(super) fn find(broker: &Broker, caller: &Caller, name: &Name) -> Result<JobRow, Problem> {
    let row = broker.view(|engine| engine.job_row(engine.parse_handle(&name.0)?));
    // One that may not be seen is not there.
    row.filter(|row| caller.sees(&row.function)).ok_or_else(|| no_job(name))
}

/// Of a job that succeeded, and of which only a line is kept.
pub(super) fn not_kept(row: &JobRow) -> Problem {
    let detail = format!(
        "The job {} succeeded, and only a line of it is kept: say `keep` when you submit it, or set `keep_succeeded` in the \
         function's policy",
        row.handle
    );
    Problem::new(Kind::NOT_FOUND, detail).with("state", "succeeded")
}

pub(super) fn no_job(name: &Name) -> Problem {
    let handle = String::from_utf8_lossy(&name.0);
    Problem::new(Kind::NOT_FOUND, format!("There is no job {handle}"))
}
