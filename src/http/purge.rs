//! What is done to a whole function: its waiting jobs are deleted, or it is dropped.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::json;
use super::operate::Desk;
use super::page::Cursor as _;
use super::params::{Name, Params};
use super::problem::{Described, Kind, Problem};
use super::shared::Shared;
use crate::broker::{BATCH, turn};
use crate::clock::Stopwatch;
use crate::engine::view::{Bounds, JobCursor, JobFilter, JobState};
use crate::engine::{Action, Undone, Undropped};
use crate::types::{JobId, Pattern, RecordNo};

/// How long one request may delete.
const PATIENCE: Duration = Duration::from_millis(400);

/// Jobs that are looked at under one lock.
const LOOKS: usize = 500;

/// What waits, in the order in which it is deleted.
const WAITING: [JobState; 3] = [JobState::Queued, JobState::Scheduled, JobState::Held];

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(purge)).routes(routes!(drop_function))
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
struct Purged {
    /// How many jobs.
    purged: usize,
    /// Time is up: give this as `after` to go on; null: nothing is left that waited when it began.
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct From {
    /// The `next` of the answer before.
    after: Option<String>,
}

/// Delete all jobs of a function that wait
///
/// Queued, scheduled and held ones; who waits for them is told that they failed. Jobs that run and jobs that are over stay.
#[utoipa::path(post, operation_id = "purge_function", path = "/functions/{function}/purge", tag = "functions",
    params(("function" = String, Path, pattern = "^[^*]+$"), From),
    responses(
        (status = 200, description = "How many were deleted", body = Purged),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn purge(desk: Desk, Name(name): Name, Params(from): Params<From>) -> Result<Response, Problem> {
    desk.must_see(&name)?;
    if name.contains(&b'*') {
        return Err(Problem::new(
            Kind::INVALID,
            "Name one function: in a search, a `*` stands for others too",
        ));
    }
    if desk.broker.view(|engine| engine.function_row(&name).is_none()) {
        return Err(unknown(&name));
    }
    let from = JobCursor::read(from.after.as_deref())?;
    let first = from.map_or(Ok(0), |from| state_of(from).ok_or_else(wrong_place))?;
    let watch = Stopwatch::start();
    let (mut safe, mut next) = (RecordNo::NONE, None);
    let mut noted = Noted { desk: &desk, name: &name, purged: 0 };
    'states: for (index, state) in WAITING.into_iter().enumerate().skip(first) {
        let filter =
            JobFilter { state: Some(state), function: Some(Pattern::new(&name)), ..JobFilter::default() };
        let mut place = Some(from.filter(|_| index == first).unwrap_or(filter.first()));
        while let Some(at) = place {
            if watch.elapsed() >= PATIENCE {
                next = Some(at.to_text());
                break 'states;
            }
            let bounds = Bounds { looks: LOOKS, rows: BATCH };
            let piece = desk.broker.view(|engine| engine.job_rows(&filter, at, bounds));
            let jobs: Vec<JobId> = piece.rows.iter().map(|found| found.row.id).collect();
            let (done, record) = desk.broker.control(desk.now(), &jobs, Action::Delete);
            safe = safe.max(record);
            noted.purged += done.iter().filter(|done| done.is_ok()).count();
            let refused = done.into_iter().find_map(|done| match done {
                Err(Undone::Refused(refusal)) => Some(refusal),
                _ => None,
            });
            if let Some(refusal) = refused {
                desk.note(PURGE, &name, &refusal.text);
                return Err(refusal.into());
            }
            place = piece.next;
            turn::pass().await;
        }
    }
    let purged = noted.purged;
    drop(noted);
    desk.safe(PURGE, &name, safe).await?;
    json(StatusCode::OK, &Purged { purged, next })
}

const PURGE: &str = "purge function";

/// Notes how many were deleted, also if the caller goes meanwhile.
struct Noted<'a> {
    desk: &'a Desk,
    name: &'a [u8],
    purged: usize,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.desk.note(PURGE, self.name, &format!("{} deleted", self.purged));
    }
}

/// Which of the lists a place is in.
fn state_of(place: JobCursor) -> Option<usize> {
    match place {
        JobCursor::Ready(..) => Some(0),
        JobCursor::Due(..) => Some(1),
        JobCursor::Held(..) => Some(2),
        _ => None,
    }
}

fn wrong_place() -> Problem {
    Problem::new(Kind::INVALID, "`after` is not the `next` of an answer from here")
}

fn unknown(name: &Bytes) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("There is no function {}", String::from_utf8_lossy(name)))
}

/// Drop a function that is not in use
///
/// It has neither jobs that are not over, nor workers, nor schedules. What is kept of its jobs that are over goes with it.
#[utoipa::path(delete, operation_id = "drop_function", path = "/functions/{function}", tag = "functions", params(("function" = String, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn drop_function(desk: Desk, Name(name): Name) -> Result<Response, Problem> {
    desk.must_see(&name)?;
    let (dropped, record) = desk.broker.drop_function(desk.now(), &name);
    let dropped = match dropped {
        Err(Undropped::Unknown) => return Err(unknown(&name)),
        Err(Undropped::Used) => {
            desk.note("drop function", &name, &Undropped::Used.to_string());
            return Err(Problem::new(Kind::IN_USE, "It has jobs that are not over, workers, or schedules"));
        }
        Err(Undropped::NotKept(refusal)) => Err(refusal),
        Ok(()) => Ok(()),
    };
    desk.done("drop function", &name, (dropped, record)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
