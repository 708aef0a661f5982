//! Schedules: recurring jobs.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::answer::{json, polled};
use super::page::{self, Cursor as _, gather};
use super::params::{Name, Params};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::{Moment, text_or_base64};
use crate::engine::view::ScheduleRow;
use crate::types::{JobId, Pattern};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// A recurring job.
#[derive(Serialize, ToSchema)]
struct Schedule {
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_base64: Option<String>,
    /// The unique id of its jobs; empty if they have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_base64: Option<String>,
    /// Minute, hour, day of month, month, day of week from 0 = Monday.
    cron: String,
    /// When it next submits.
    #[schema(value_type = String, format = DateTime)]
    next_run: Moment,
    /// Bytes of its jobs' payload.
    payload_size: u32,
}

impl From<ScheduleRow> for Schedule {
    fn from(row: ScheduleRow) -> Self {
        let (function, function_base64) = text_or_base64(&row.function);
        let (unique, unique_base64) = text_or_base64(&row.unique);
        Schedule {
            handle: row.handle,
            function,
            function_base64,
            unique,
            unique_base64,
            cron: row.fields,
            next_run: Moment(row.next),
            payload_size: row.payload_size,
        }
    }
}

/// A page of schedules.
#[derive(Serialize, ToSchema)]
struct SchedulePage {
    items: Vec<Schedule>,
    /// Give this as `after` for the next page; null: this is the last.
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Only those of such functions; `*` stands for any text.
    function: Option<String>,
    /// Most schedules of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Schedules, by age
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(Search),
    responses(
        (status = 200, description = "A page of them", body = SchedulePage, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn list(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(search): Params<Search>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = page::limit(search.limit)?;
    let (pattern, visible) = (search.function.map(Pattern::new), caller.functions());
    let from = JobId::read(search.after.as_deref())?.unwrap_or(JobId(0));
    let page = gather(
        from,
        limit,
        |from, bounds| broker.view(|engine| engine.schedule_rows(pattern.as_ref(), visible, *from, bounds)),
        page::all::<_, Schedule>,
    );
    let page = page.await?;
    polled(&headers, &SchedulePage { items: page.items, next: page.next })
}

/// One schedule
#[utoipa::path(get, path = "/schedules/{handle}", tag = "schedules", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn get(Queues(broker): Queues, Reader(caller): Reader, Name(name): Name) -> Result<Response, Problem> {
    let row = broker.view(|engine| engine.schedule_row(engine.parse_handle(&name)?));
    let row = row.filter(|row| caller.sees(&row.function)).ok_or_else(|| {
        Problem::new(Kind::NOT_FOUND, format!("There is no schedule {}", String::from_utf8_lossy(&name)))
    })?;
    json(StatusCode::OK, &Schedule::from(row))
}
