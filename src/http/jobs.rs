//! Jobs: searched, looked at, and their payloads.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::json;
use super::page::{self, Cursor, gather};
use super::params::{Name, Params, PriorityName};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::submit;
use super::values::{Moment, text_or_base64};
use crate::broker::Broker;
use crate::engine::view::{Found, Has, JobCursor, JobFilter, JobRow, JobState, Payload};
use crate::types::{ConnId, JobId, Pattern};

/// Bytes of payloads that are read from the disk in one go.
const READ: u64 = 4 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(list, submit::submit)).routes(routes!(get)).routes(routes!(payload))
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
    /// Not to be handed out before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    due: Option<Moment>,
    /// When its worker must be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Moment>,
    /// How often a worker lost it.
    losses: u32,
    /// How far its worker says that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Who has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<Worker>,
    /// How many submits wait for it.
    waiting_clients: usize,
    /// Bytes of its payload.
    payload_size: u32,
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobState)]
enum StateName {
    /// May be handed out later.
    Scheduled,
    /// May be handed out.
    Queued,
    /// A worker has it.
    Running,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Progress {
    pub numerator: u32,
    pub denominator: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = JobWorker)]
struct Worker {
    id: u64,
    address: String,
    client_id: String,
}

impl From<JobRow> for Job {
    fn from(row: JobRow) -> Self {
        let (function, function_base64) = text_or_base64(&row.function);
        let (unique, unique_base64) = text_or_base64(&row.unique);
        Job {
            handle: row.handle,
            function,
            function_base64,
            unique,
            unique_base64,
            state: match row.state {
                JobState::Scheduled => StateName::Scheduled,
                JobState::Queued => StateName::Queued,
                JobState::Running => StateName::Running,
            },
            priority: row.priority.into(),
            background: row.background,
            due: row.due.map(Moment),
            deadline: row.deadline.map(Moment),
            losses: row.losses,
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
    #[param(inline)]
    state: Option<StateName>,
    /// Their function; `*` stands for any text.
    function: Option<String>,
    #[param(inline)]
    priority: Option<PriorityName>,
    /// Their unique id.
    unique: Option<String>,
    /// The connection that has them.
    worker: Option<u64>,
    /// Text that their payload has in it.
    payload: Option<String>,
    /// Most jobs of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Search jobs
///
/// Without a filter they come by age. The order is that of service for `state=queued` with one function, and that of
/// their due times for `state=scheduled`.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Search),
    responses(
        (status = 200, description = "A page of them", body = JobPage),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn list(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(search): Params<Search>,
) -> Result<Response, Problem> {
    let limit = page::limit(search.limit)?;
    let finder = search.payload.filter(|text| !text.is_empty());
    let finder = finder.map(|text| Finder::new(text.as_bytes()).into_owned());
    let has = finder.map(|finder| -> Arc<Has> { Arc::new(move |payload| finder.find(payload).is_some()) });
    let filter = JobFilter {
        state: search.state.map(|state| match state {
            StateName::Scheduled => JobState::Scheduled,
            StateName::Queued => JobState::Queued,
            StateName::Running => JobState::Running,
        }),
        function: search.function.map(Pattern::new),
        priority: search.priority.map(Into::into),
        unique: search.unique.map(Bytes::from),
        worker: search.worker.map(ConnId),
        payload: has.as_deref(),
        visible: caller.functions(),
    };
    let from = JobCursor::read(search.after.as_deref())?;
    if from.is_some_and(|from| !filter.takes(from)) {
        return Err(Problem::new(Kind::INVALID, "`after` is not the `next` of a page with this filter"));
    }
    let from = from.unwrap_or_else(|| filter.first());
    let page = gather(
        from,
        limit,
        |from, bounds| broker.view(|engine| engine.job_rows(&filter, *from, bounds)),
        |found| decide(broker.clone(), has.clone(), found),
    );
    let page = page.await?;
    let items = page.items.into_iter().map(Job::from).collect();
    json(StatusCode::OK, &JobPage { items, next: page.next, looked_at: page.looked })
}

/// Leaves out jobs whose payloads, which could not be looked through under the lock, have not what is looked for.
async fn decide(
    broker: Arc<Broker>,
    has: Option<Arc<Has>>,
    found: Vec<Found>,
) -> Result<Vec<JobRow>, Problem> {
    let Some(has) = has else { return Ok(found.into_iter().map(|found| found.row).collect()) };
    let mut rows: Vec<(JobRow, bool)> = Vec::with_capacity(found.len());
    let mut stored = Vec::new();
    for Found { row, undecided } in found {
        let fits = match undecided {
            None => true,
            Some(Payload::Whole(payload)) => has(&payload),
            Some(Payload::Stored) => {
                stored.push(rows.len());
                false
            }
        };
        rows.push((row, fits));
    }
    let mut stored = &stored[..];
    while !stored.is_empty() {
        let mut bytes = 0;
        let fitting = stored.iter().take_while(|index| {
            bytes += u64::from(rows[**index].0.payload_size);
            bytes <= READ
        });
        let (now, later) = stored.split_at(fitting.count().max(1));
        let wanted: Vec<(JobId, u32)> =
            now.iter().map(|index| (rows[*index].0.id, rows[*index].0.payload_size)).collect();
        let has = has.clone();
        let bodies = read_stored(&broker, wanted, move |payload| has(payload)).await?;
        for (index, fits) in now.iter().zip(bodies) {
            rows[*index].1 = fits.unwrap_or(false);
        }
        stored = later;
    }
    Ok(rows.into_iter().filter_map(|(row, fits)| fits.then_some(row)).collect())
}

/// What `look` makes of payloads that are on disk; `None` of those that are there no more.
async fn read_stored<T: Send + 'static>(
    broker: &Arc<Broker>,
    jobs: Vec<(JobId, u32)>,
    look: impl Fn(&[u8]) -> T + Send + 'static,
) -> Result<Vec<Option<T>>, Problem> {
    let broker = broker.clone();
    let read = move || {
        let ids: Vec<JobId> = jobs.iter().map(|(id, _)| *id).collect();
        let mut found: Vec<Option<T>> = Vec::with_capacity(jobs.len());
        let read = broker.read_stored(&ids, &mut |_, body| {
            let len = jobs[found.len()].1 as usize;
            // The payload is the last of what a submit came with.
            let payload = body.as_ref().and_then(|body| body.get(body.len().checked_sub(len)?..));
            found.push(payload.map(&look));
        });
        read.map(|()| found)
    };
    let broken = |error: &dyn std::fmt::Display| Problem::new(Kind::BROKEN, error.to_string());
    tokio::task::spawn_blocking(read).await.map_err(|error| broken(&error))?.map_err(|error| broken(&error))
}

/// Which fields are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Fields {
    /// Only these fields, separated by commas.
    fields: Option<String>,
}

/// One job
#[utoipa::path(get, path = "/jobs/{handle}", tag = "jobs", params(("handle" = String, Path), Fields),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn get(
    Queues(broker): Queues,
    Reader(caller): Reader,
    name: Name,
    Params(Fields { fields }): Params<Fields>,
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
    json(StatusCode::OK, &job)
}

/// Fields that may be asked for.
const FIELDS: [&str; 13] = [
    "handle",
    "function",
    "unique",
    "state",
    "priority",
    "background",
    "due",
    "deadline",
    "losses",
    "progress",
    "worker",
    "waiting_clients",
    "payload_size",
];

/// A job's payload, as it was submitted
#[utoipa::path(get, path = "/jobs/{handle}/payload", tag = "jobs", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "All of it", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn payload(Queues(broker): Queues, Reader(caller): Reader, name: Name) -> Result<Response, Problem> {
    let row = find(&broker, &caller, &name)?;
    let gone = || no_job(&name);
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
fn find(broker: &Broker, caller: &Caller, name: &Name) -> Result<JobRow, Problem> {
    let row = broker.view(|engine| engine.job_row(engine.parse_handle(&name.0)?));
    // One that may not be seen is not there.
    row.filter(|row| caller.sees(&row.function)).ok_or_else(|| no_job(name))
}

fn no_job(name: &Name) -> Problem {
    let handle = String::from_utf8_lossy(&name.0);
    Problem::new(Kind::NOT_FOUND, format!("There is no job {handle}"))
}
