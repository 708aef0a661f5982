//! Functions: what waits for them and who can do them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::answer::polled;
use super::page::{self, AfterName, Cursor as _, gather};
use super::params::{KnownTag, Name, Params, PriorityName, Search};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::{Moment, text_or_base64};
use crate::broker::turn;
use crate::engine::view::{FunctionRow, Piece};
use crate::engine::{ByReason, Counts, Reason};
use crate::types::{Pattern, Priority};

/// Workers of a function that are looked at under one lock.
const LOOKS: usize = 500;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// A function.
#[derive(Serialize, ToSchema)]
struct Function {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_base64: Option<String>,
    queued: Queued,
    /// Jobs that are not due yet.
    scheduled: usize,
    /// Jobs that wait until an operator releases them.
    held: usize,
    /// Jobs that workers have.
    running: usize,
    /// Jobs that are over and kept.
    kept: Kept,
    /// Since when the first of those that may be handed out could have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_queued: Option<Moment>,
    /// The highest priority of those that may be handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    highest_priority: Option<PriorityName>,
    /// Nothing is handed out, by its policy.
    paused: bool,
    #[serde(flatten)]
    counts: Tally,
    /// Connections that registered it.
    workers: usize,
    /// Those of them that wait to be woken. Told of one function only.
    #[serde(skip_serializing_if = "Option::is_none")]
    workers_asleep: Option<usize>,
    /// Recurring jobs that submit to it.
    schedules: usize,
    limits: Limits,
    /// Stays until it is dropped.
    pinned: bool,
}

/// Jobs that are over and kept.
#[derive(Serialize, ToSchema)]
#[schema(as = KeptJobs)]
struct Kept {
    succeeded: usize,
    failed: usize,
    cancelled: usize,
}

/// What happened to jobs since the server began.
#[derive(Serialize, ToSchema)]
#[schema(as = FunctionTally)]
struct Tally {
    /// Jobs that were made.
    submitted: u64,
    /// Submits that joined a job instead.
    coalesced: u64,
    /// Jobs that ended well.
    succeeded: u64,
    /// Jobs that were cancelled, or that no one waited for any more.
    cancelled: u64,
    /// Jobs that failed, by reason.
    failed: BTreeMap<&'static str, u64>,
    /// Attempts that ended badly and whose jobs were tried again, by reason.
    retried: BTreeMap<&'static str, u64>,
    /// The longest that a job waited to be handed out since the server began, in seconds, to a power of two.
    longest_wait: f64,
}

impl From<&Counts> for Tally {
    fn from(counts: &Counts) -> Self {
        let named = |numbers: &ByReason| {
            let all = Reason::ALL.into_iter().map(|reason| (reason.name(), numbers[reason as usize]));
            all.filter(|(_, number)| *number > 0).collect()
        };
        Self {
            submitted: counts.submitted,
            coalesced: counts.coalesced,
            succeeded: counts.succeeded,
            cancelled: counts.cancelled,
            failed: named(&counts.failed),
            retried: named(&counts.retried),
            longest_wait: counts.wait.quantile(1.0).unwrap_or(0) as f64 / 1e6,
        }
    }
}

/// Jobs that may be handed out.
#[derive(Serialize, ToSchema)]
#[schema(as = QueuedJobs)]
struct Queued {
    high: usize,
    normal: usize,
    low: usize,
}

/// How many jobs the function may have before submits of a priority are refused; null: any number.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueLimits)]
struct Limits {
    #[schema(required = true)]
    high: Option<u32>,
    #[schema(required = true)]
    normal: Option<u32>,
    #[schema(required = true)]
    low: Option<u32>,
}

impl From<FunctionRow> for Function {
    fn from(row: FunctionRow) -> Self {
        let (function, function_base64) = text_or_base64(&row.name);
        let ([high, normal, low], limits) = (row.queued, row.limits);
        Function {
            function,
            function_base64,
            queued: Queued { high, normal, low },
            scheduled: row.scheduled,
            held: row.held,
            running: row.running,
            kept: Kept { succeeded: row.over[0], failed: row.over[1], cancelled: row.over[2] },
            oldest_queued: row.oldest.map(Moment),
            highest_priority: Priority::ALL
                .into_iter()
                .find(|priority| row.queued[*priority as usize] > 0)
                .map(Into::into),
            paused: row.paused,
            counts: Tally::from(row.counts.as_deref().unwrap_or(&Counts::default())),
            workers: row.workers,
            workers_asleep: None,
            schedules: row.schedules,
            limits: Limits { high: limits[0], normal: limits[1], low: limits[2] },
            pinned: row.pinned,
        }
    }
}

/// A page of functions.
#[derive(Serialize, ToSchema)]
struct FunctionPage {
    items: Vec<Function>,
    /// Give this as `after` for the next page; null: this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// Functions, by name
#[utoipa::path(get, operation_id = "list_functions", path = "/functions", tag = "functions", params(KnownTag, Search),
    responses(
        (status = 200, description = "A page of them", body = FunctionPage, headers(("etag" = String))),
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
    let from = AfterName::read(search.after.as_deref())?.unwrap_or(AfterName(None));
    let page = gather(
        from,
        limit,
        |from, bounds| {
            let piece = broker
                .view(|engine| engine.function_rows(pattern.as_ref(), visible, from.0.as_ref(), bounds));
            Piece {
                rows: piece.rows,
                looked: piece.looked,
                next: piece.next.map(|name| AfterName(Some(name))),
            }
        },
        page::all::<_, Function>,
    );
    let page = page.await?;
    polled(&headers, &FunctionPage { items: page.items, next: page.next })
}

/// One function
#[utoipa::path(get, operation_id = "get_function", path = "/functions/{function}", tag = "functions", params(KnownTag, ("function" = String, Path)),
    responses(
        (status = 200, description = "The function", body = Function, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn get(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = if caller.sees(&name) { broker.view(|engine| engine.function_row(&name)) } else { None };
    let row = row.ok_or_else(|| {
        Problem::new(Kind::NOT_FOUND, format!("There is no function {}", String::from_utf8_lossy(&name)))
    })?;
    let (mut asleep, mut from) = (0, Some(0));
    while let Some(place) = from {
        let (count, next) = broker.view(|engine| engine.count_asleep(&name, place, LOOKS));
        (asleep, from) = (asleep + count, next);
        turn::pass().await;
    }
    polled(&headers, &Function { workers_asleep: Some(asleep), ..row.into() })
}
