//! Schedules: recurring jobs.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::{json, polled};
use super::body;
use super::operate::{Desk, to_outcome};
use super::page::{self, Cursor as _, gather};
use super::params::{KnownTag, Name, Params, Search};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::{Moment, Raw, text_or_base64};
use crate::broker::Broker;
use crate::engine::view::{Bounds, ScheduleRow};
use crate::policy::{Misfire, Overlap, Plan};
use crate::protocol::{self, Spec};
use crate::types::{JobId, Pattern};

/// Rows that are made under one lock: the next times of each take some 20 µs to find.
const ROWS: usize = 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, put, patch, delete))
        .routes(routes!(payload))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(run))
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
    /// Minute, hour, day of month, month, day of week.
    cron: String,
    /// Whether days of the week are counted from 0 = Monday, as in the protocol's packet, not from Sunday as in cron.
    monday_is_zero: bool,
    /// The same in plain words; missing for steps that do not divide their field evenly, as in `0-6/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
    /// The time zone it is meant in.
    zone: String,
    /// What becomes of times that passed while no server ran: `skip` or `once`.
    misfire: Misfire,
    /// What happens when the job of the last time is still there: `allow` or `skip`.
    overlap: Overlap,
    paused: bool,
    /// The next times that the fields mean.
    #[schema(value_type = Vec<String>)]
    next_runs: Vec<Moment>,
    /// When it next submits; missing while it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_run: Option<Moment>,
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
            cron: row.plan.fields,
            monday_is_zero: row.plan.monday_is_zero,
            words: row.words,
            zone: if row.plan.zone.is_empty() { "UTC".to_owned() } else { row.plan.zone },
            misfire: row.plan.misfire,
            overlap: row.plan.overlap,
            next_runs: row.next_times.into_iter().map(Moment).collect(),
            next_run: (!row.plan.paused).then_some(Moment(row.next)),
            paused: row.plan.paused,
            payload_size: row.payload_size,
        }
    }
}

/// A page of schedules.
#[derive(Serialize, ToSchema)]
struct SchedulePage {
    items: Vec<Schedule>,
    /// Give this as `after` for the next page; null: this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// Schedules, by age
#[utoipa::path(get, operation_id = "list_schedules", path = "/schedules", tag = "schedules", params(KnownTag, Search),
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
        |from, bounds| {
            let bounds = Bounds { rows: bounds.rows.min(ROWS), ..bounds };
            broker.view(|engine| engine.schedule_rows(pattern.as_ref(), visible, *from, bounds))
        },
        page::all::<_, Schedule>,
    );
    let page = page.await?;
    polled(&headers, &SchedulePage { items: page.items, next: page.next })
}

/// One schedule
#[utoipa::path(get, operation_id = "get_schedule", path = "/schedules/{handle}", tag = "schedules", params(("handle" = String, Path), KnownTag),
    responses(
        (status = 200, description = "The schedule", body = Schedule, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn get(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    polled(&headers, &find(&broker, &caller, &name)?.1)
}

/// The payload of a schedule's jobs, as it was given
#[utoipa::path(get, operation_id = "get_schedule_payload", path = "/schedules/{handle}/payload", tag = "schedules", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "All of it", body = inline(Raw), content_type = "application/octet-stream"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn payload(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Name(name): Name,
) -> Result<Response, Problem> {
    let (id, _) = find(&broker, &caller, &name)?;
    let (_, spec) = broker.view(|engine| engine.schedule_parts(id)).ok_or_else(|| unknown(&name))?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
    Ok((kind, Parts::of(Plan::default(), &spec).payload).into_response())
}

fn find(broker: &Broker, caller: &Caller, name: &[u8]) -> Result<(JobId, Schedule), Problem> {
    let row = broker.view(|engine| engine.schedule_row(engine.parse_handle(name)?));
    let row = row.filter(|row| caller.sees(&row.function));
    row.map(|row| (row.id, row.into())).ok_or_else(|| unknown(name))
}

fn unknown(name: &[u8]) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("There is no schedule {}", String::from_utf8_lossy(name)))
}

/// A recurring job to be made. Where a field is no UTF-8, `NAME_base64` stands instead of `NAME`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `Parts::change` reads")]
struct NewSchedule {
    /// The function of its jobs; or `function_base64`.
    #[schema(min_length = 1, pattern = "^[^\\u0000]*$")]
    function: Option<String>,
    #[schema(min_length = 1, format = Byte)]
    function_base64: Option<String>,
    /// The unique id of its jobs. Of one function and unique id there is one schedule; without one, each request makes another.
    #[schema(pattern = "^[^\\u0000]*$")]
    unique: Option<String>,
    #[schema(format = Byte)]
    unique_base64: Option<String>,
    /// Minute, hour, day of month, month, day of week, as in crontab: Sunday is 0.
    #[schema(pattern = "^ *[!-~]+( +[!-~]+){4} *$", max_length = 1284)]
    cron: String,
    /// Count days of the week from 0 = Monday, as the protocol's packet does.
    monday_is_zero: Option<bool>,
    /// The time zone that the fields are meant in; UTC unless said.
    zone: Option<String>,
    /// What becomes of times that pass while no server runs.
    misfire: Option<Misfire>,
    /// What happens when the job of the last time is still there.
    overlap: Option<Overlap>,
    /// Submit nothing until it is resumed.
    paused: Option<bool>,
    /// The payload of its jobs.
    payload: Option<String>,
    #[schema(format = Byte)]
    payload_base64: Option<String>,
}

/// What of a recurring job is to be another; null: as in a new one that does not say it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `Parts::change` reads")]
struct ScheduleChange {
    #[schema(min_length = 1, pattern = "^[^\\u0000]*$", nullable = false)]
    function: Option<String>,
    #[schema(min_length = 1, format = Byte, nullable = false)]
    function_base64: Option<String>,
    #[schema(pattern = "^[^\\u0000]*$")]
    unique: Option<String>,
    #[schema(format = Byte)]
    unique_base64: Option<String>,
    /// Days of the week are counted as in crontab then, unless `monday_is_zero` is said, too.
    #[schema(pattern = "^ *[!-~]+( +[!-~]+){4} *$", max_length = 1284, nullable = false)]
    cron: Option<String>,
    monday_is_zero: Option<bool>,
    zone: Option<String>,
    misfire: Option<Misfire>,
    overlap: Option<Overlap>,
    paused: Option<bool>,
    payload: Option<String>,
    #[schema(format = Byte)]
    payload_base64: Option<String>,
}

/// What a schedule is made of.
#[derive(Default)]
struct Parts {
    plan: Plan,
    function: Bytes,
    unique: Bytes,
    payload: Bytes,
}

impl Parts {
    fn of(plan: Plan, spec: &Spec) -> Self {
        let part = |part: &[u8]| spec.body().slice_ref(part);
        Self {
            plan,
            function: part(spec.function()),
            unique: part(spec.unique()),
            payload: part(spec.payload()),
        }
    }

    /// Takes over what is said; null: as if it were said for the first time without it.
    fn change(&mut self, mut said: Map<String, Value>) -> Result<(), Problem> {
        for name in ["function", "unique", "payload"] {
            one_of_two(&mut said, name)?;
        }
        if said.contains_key("cron") {
            self.plan.monday_is_zero = false;
        }
        for (field, value) in said {
            let plan = &mut self.plan;
            match field.as_str() {
                "cron" => plan.fields = read(&field, value)?,
                "monday_is_zero" => plan.monday_is_zero = read(&field, value)?,
                "zone" => plan.zone = read(&field, value)?,
                "misfire" => plan.misfire = read(&field, value)?,
                "overlap" => plan.overlap = read(&field, value)?,
                "paused" => plan.paused = read(&field, value)?,
                "function" => self.function = read::<String>(&field, value)?.into(),
                "unique" => self.unique = read::<String>(&field, value)?.into(),
                "payload" => self.payload = read::<String>(&field, value)?.into(),
                "function_base64" => self.function = decode(&field, value)?,
                "unique_base64" => self.unique = decode(&field, value)?,
                "payload_base64" => self.payload = decode(&field, value)?,
                _ => return Err(Problem::new(Kind::INVALID, format!("A schedule has no field `{field}`"))),
            }
        }
        Ok(())
    }

    fn into_plan_and_spec(self) -> Result<(Plan, Spec), Problem> {
        if self.function.is_empty() || self.plan.fields.is_empty() {
            return Err(Problem::new(Kind::INVALID, "A schedule needs a `function` and `cron`"));
        }
        if [&self.function, &self.unique].iter().any(|name| name.contains(&0)) {
            return Err(Problem::new(
                Kind::INVALID,
                "`function` and `unique` cannot have a NUL byte in them",
            ));
        }
        let mut body =
            BytesMut::with_capacity(self.function.len() + self.unique.len() + self.payload.len() + 2);
        for part in [&self.function[..], b"\0", &self.unique, b"\0", &self.payload] {
            body.extend_from_slice(part);
        }
        let (spec, _) = Spec::parse(protocol::Kind::SubmitJobBg, body.freeze())?;
        Ok((self.plan, spec))
    }
}

/// Of a field that is told as text or in base64, null in one form does not undo the other.
fn one_of_two(said: &mut Map<String, Value>, name: &str) -> Result<(), Problem> {
    let base64 = format!("{name}_base64");
    let (Some(text), Some(bytes)) = (said.get(name), said.get(&base64)) else { return Ok(()) };
    match (text.is_null(), bytes.is_null()) {
        (false, false) => {
            return Err(Problem::new(Kind::INVALID, format!("Say `{name}` or `{base64}`, not both")));
        }
        (true, _) => said.remove(name),
        (false, true) => said.remove(&base64),
    };
    Ok(())
}

fn read<T: DeserializeOwned + Default>(field: &str, value: Value) -> Result<T, Problem> {
    let read = serde_json::from_value::<Option<T>>(value);
    let read = read.map_err(|error| Problem::new(Kind::INVALID, format!("`{field}`: {error}")))?;
    Ok(read.unwrap_or_default())
}

fn decode(field: &str, value: Value) -> Result<Bytes, Problem> {
    let text: String = read(field, value)?;
    let decoded = BASE64_STANDARD.decode(text);
    let wrong = |error| Problem::new(Kind::INVALID, format!("`{field}` is not base64: {error}"));
    decoded.map(Bytes::from).map_err(wrong)
}

/// Submit a job again and again
///
/// Of one function and unique id there is one schedule: if there is one already, it is made anew, and keeps its handle. Without
/// a unique id there is always another one.
#[utoipa::path(post, operation_id = "create_schedule", path = "/schedules", tag = "schedules", request_body = NewSchedule,
    responses(
        (status = 201, description = "The schedule", body = Schedule, headers(("location" = String))),
        (status = 200, description = "There was one of this function and unique id; it is as was asked for now",
            body = Schedule, headers(("location" = String))),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn create(desk: Desk, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let said = desk.read(body::JSON, &headers, body).await?;
    let outcome = to_outcome(&said);
    let mut parts = Parts::default();
    parts.change(said)?;
    let (made, is_new) = store(&desk, "create schedule", &outcome, None, parts).await?;
    let location = HeaderValue::try_from(format!("/api/v1/schedules/{}", made.handle));
    let mut response = json(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &made)?;
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Make a schedule anew
///
/// What is not said is as in a new one; the handle stays.
#[utoipa::path(put, operation_id = "put_schedule", path = "/schedules/{handle}", tag = "schedules", params(("handle" = String, Path)),
    request_body = NewSchedule,
    responses(
        (status = 200, description = "The schedule as it is now", body = Schedule),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn put(desk: Desk, Name(name): Name, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let said = desk.read(body::JSON, &headers, body).await?;
    let outcome = to_outcome(&said);
    let (id, _) = find(&desk.broker, &desk.caller, &name)?;
    let mut parts = Parts::default();
    parts.change(said)?;
    json(StatusCode::OK, &store(&desk, "change schedule", &outcome, Some(id), parts).await?.0)
}

/// Change some of a schedule
///
/// What is not said stays; null is as in a new one. The body may also be called `application/merge-patch+json`.
#[utoipa::path(patch, operation_id = "change_schedule", path = "/schedules/{handle}", tag = "schedules", params(("handle" = String, Path)),
    request_body = ScheduleChange,
    responses(
        (status = 200, description = "The schedule as it is now", body = Schedule),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn patch(desk: Desk, Name(name): Name, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let said = desk.read(body::PATCH, &headers, body).await?;
    let outcome = to_outcome(&said);
    // From here to the change nothing is waited for: no other request comes between.
    let (id, _) = find(&desk.broker, &desk.caller, &name)?;
    let (plan, spec) = desk.broker.view(|engine| engine.schedule_parts(id)).ok_or_else(|| unknown(&name))?;
    let mut parts = Parts::of(plan, &spec);
    parts.change(said)?;
    json(StatusCode::OK, &store(&desk, "change schedule", &outcome, Some(id), parts).await?.0)
}

/// The schedule as it is then, and whether there was none before.
async fn store(
    desk: &Desk,
    action: &str,
    outcome: &str,
    id: Option<JobId>,
    parts: Parts,
) -> Result<(Schedule, bool), Problem> {
    let (plan, spec) = parts.into_plan_and_spec()?;
    desk.must_see(spec.function())?;
    let target = match id {
        Some(id) => desk.broker.view(|engine| engine.handle_of(id)),
        None => String::from_utf8_lossy(spec.function()).into_owned(),
    };
    let put = desk.broker.put_schedule(desk.now(), id, plan, spec);
    let row = put.0.as_ref().ok().and_then(|put| desk.broker.view(|engine| engine.schedule_row(put.id)));
    let put = desk.done_as(outcome, action, target.as_bytes(), put).await?;
    row.map(|row| (row.into(), put.is_new)).ok_or_else(|| unknown(target.as_bytes()))
}

/// End a schedule
///
/// Jobs that it submitted stay.
#[utoipa::path(delete, operation_id = "delete_schedule", path = "/schedules/{handle}", tag = "schedules", params(("handle" = String, Path)),
    responses(
        (status = 204, description = "It is ended"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn delete(desk: Desk, Name(name): Name) -> Result<Response, Problem> {
    let (id, _) = find(&desk.broker, &desk.caller, &name)?;
    let deleted = desk.broker.delete_schedule(desk.now(), id);
    desk.done("delete schedule", &name, deleted).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Submit nothing until it is resumed
#[utoipa::path(post, operation_id = "pause_schedule", path = "/schedules/{handle}/pause", tag = "schedules", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "The schedule as it is now", body = Schedule),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn pause(desk: Desk, Name(name): Name) -> Result<Response, Problem> {
    set_paused(desk, &name, true).await
}

/// Submit again
#[utoipa::path(post, operation_id = "resume_schedule", path = "/schedules/{handle}/resume", tag = "schedules", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "The schedule as it is now", body = Schedule),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn resume(desk: Desk, Name(name): Name) -> Result<Response, Problem> {
    set_paused(desk, &name, false).await
}

async fn set_paused(desk: Desk, name: &[u8], paused: bool) -> Result<Response, Problem> {
    let (id, _) = find(&desk.broker, &desk.caller, name)?;
    let done = desk.broker.pause_schedule(desk.now(), id, paused);
    desk.done(if paused { "pause schedule" } else { "resume schedule" }, name, done).await?;
    json(StatusCode::OK, &find(&desk.broker, &desk.caller, name)?.1)
}

/// The job that a schedule submitted.
#[derive(Serialize, ToSchema)]
struct Submitted {
    handle: String,
}

/// Submit its job now, once more than its times say
///
/// Whether it is paused or not.
#[utoipa::path(post, operation_id = "run_schedule", path = "/schedules/{handle}/run", tag = "schedules", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "The job, or the one that it joined", body = Submitted),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn run(desk: Desk, Name(name): Name) -> Result<Response, Problem> {
    let (id, _) = find(&desk.broker, &desk.caller, &name)?;
    let submitted = desk.broker.run_schedule_now(desk.now(), id);
    let job = desk.done("run schedule", &name, submitted).await?;
    json(StatusCode::OK, &Submitted { handle: desk.broker.view(|engine| engine.handle_of(job)) })
}
