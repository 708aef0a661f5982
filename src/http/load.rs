//! How busy the server was, over time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::answer::polled;
use super::params::{KnownTag, Params};
use super::problem::{Described, Kind, Problem};
use super::shared::Shared;
use super::values::Moment;
use crate::engine::Histogram;
use crate::history::{Gauge, Sample};
use crate::policy::whole;
use crate::types::Timestamp;

/// What is told if nothing is said.
const RANGE: Duration = Duration::from_secs(3600);

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(load))
}

/// The load over time.
#[derive(Serialize, ToSchema)]
struct Load {
    /// Seconds of a step. More than were asked for where nothing is kept that fine, or there would be more than 10,000.
    step: u64,
    items: Vec<Step>,
}

/// A stretch of time.
#[derive(Serialize, ToSchema)]
#[schema(as = LoadStep)]
struct Step {
    /// When it begins.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// Seconds of it in which the server ran.
    seconds: u64,
    /// How things stood at its end.
    #[serde(flatten)]
    end: Levels<u64>,
    /// The largest of each in it.
    most: Levels<u64>,
    /// The mean of each over it.
    mean: Levels<f64>,
    /// Jobs that were made.
    submitted: u64,
    /// Jobs that ended well.
    succeeded: u64,
    /// Jobs that failed; those that were cancelled are not counted.
    failed: u64,
    /// The largest age of a job that could be handed out, in seconds.
    oldest_age: f64,
    /// How long jobs waited that were handed out; null: none was.
    #[schema(required = true)]
    wait: Option<Times>,
    /// How long jobs ran that ended or were lost; null: none was.
    #[schema(required = true)]
    run: Option<Times>,
}

/// How things stand.
#[derive(Serialize, ToSchema)]
struct Levels<N> {
    /// Jobs that may be handed out.
    waiting: Waiting<N>,
    /// Jobs that workers have.
    running: N,
    /// Jobs that are not due yet.
    scheduled: N,
    /// Workers: connections that registered the function, or any.
    workers: N,
}

/// By priority.
#[derive(Serialize, ToSchema)]
struct Waiting<N> {
    high: N,
    normal: N,
    low: N,
}

/// Seconds that half, 95 and 99 of a hundred did not exceed, exact to a power of two; and the mean.
#[derive(Serialize, ToSchema)]
#[schema(as = LoadTimes)]
struct Times {
    count: u64,
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Times {
    fn of(histogram: &Histogram) -> Option<Self> {
        let count = histogram.count();
        let quantile = |share| histogram.quantile(share).map(|micros| micros as f64 / 1e6);
        Some(Self {
            count,
            mean: histogram.sum as f64 / 1e6 / count.max(1) as f64,
            p50: quantile(0.5)?,
            p95: quantile(0.95)?,
            p99: quantile(0.99)?,
        })
    }
}

impl<N> Levels<N> {
    fn of(sample: &Sample, number: impl Fn(&Gauge) -> N) -> Self {
        let [high, normal, low] = sample.waiting.each_ref().map(&number);
        Self {
            waiting: Waiting { high, normal, low },
            running: number(&sample.running),
            scheduled: number(&sample.scheduled),
            workers: number(&sample.workers),
        }
    }
}

impl From<Sample> for Step {
    fn from(sample: Sample) -> Self {
        Self {
            at: Moment(sample.at),
            seconds: sample.seconds,
            end: Levels::of(&sample, |gauge| gauge.last),
            most: Levels::of(&sample, |gauge| gauge.max),
            mean: Levels::of(&sample, |gauge| gauge.average(sample.seconds)),
            submitted: sample.events.submitted,
            succeeded: sample.events.succeeded,
            failed: sample.events.failed,
            oldest_age: sample.oldest_age as f64 / 1e6,
            wait: Times::of(&sample.events.wait),
            run: Times::of(&sample.events.run),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Of this function, which is or was there; without it, of the whole server.
    function: Option<String>,
    /// From when on; an hour before `to` unless said.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Until when; now unless said.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Seconds of a step: 1 unless said. Steps are longer where nothing is kept that fine, and so that there are 10,000 at
    /// most.
    #[serde(default, deserialize_with = "whole::in_address")]
    #[param(minimum = 1, maximum = 31_622_400)]
    step: Option<u64>,
}

/// How busy the server was, over time
#[utoipa::path(get, operation_id = "get_load", path = "/load", tag = "server", params(KnownTag, Asked),
    responses(
        (status = 200, description = "Steps in which the server ran, oldest first", body = Load, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn load(
    State(shared): State<Arc<Shared>>,
    Reader(caller): Reader,
    Params(asked): Params<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let history = shared.opened()?.history.clone();
    let history = history.ok_or_else(|| Problem::new(Kind::UNAVAILABLE, "There is no history"))?;
    let function = asked.function.unwrap_or_default();
    if function.is_empty() && !caller.functions().is_empty() {
        return Err(Problem::new(Kind::NOT_ALLOWED, "The token is good for some functions only: say which"));
    }
    if function.contains('*') {
        return Err(Problem::new(Kind::INVALID, "Name one function: the load of several is not added up"));
    }
    if !function.is_empty() && !caller.sees(function.as_bytes()) {
        return Err(Problem::new(Kind::NOT_ALLOWED, "The token is not good for this function"));
    }
    let is_there = function.is_empty()
        || shared.broker()?.view(|engine| engine.function_row(function.as_bytes()).is_some());
    let to = asked.to.map(|to| moment("to", &to)).transpose()?.unwrap_or_else(|| shared.clock.now());
    let from = asked.from.map(|from| moment("from", &from)).transpose()?.unwrap_or_else(|| to.before(RANGE));
    let step = asked.step.unwrap_or(1);
    if from >= to || step == 0 || step > MOST_STEP {
        return Err(Problem::new(
            Kind::INVALID,
            "`from` must be before `to`, and `step` between 1 and 31622400",
        ));
    }
    let unknown = format!("There is no function {function}, and no load of one");
    let read = move || {
        let is_known = is_there || history.knows(function.as_bytes())?;
        is_known.then(|| history.load(function.as_bytes(), from, to, step)).transpose()
    };
    let steps = match tokio::task::spawn_blocking(read).await {
        Ok(Ok(steps)) => steps.ok_or_else(|| Problem::new(Kind::NOT_FOUND, unknown))?,
        Ok(Err(error)) => return Err(Problem::new(Kind::BROKEN, error.to_string())),
        Err(error) => return Err(Problem::new(Kind::BROKEN, error.to_string())),
    };
    let items = steps.samples.into_iter().map(Step::from).collect();
    polled(&headers, &Load { step: steps.step, items })
}

/// A year.
const MOST_STEP: u64 = 366 * 24 * 60 * 60;

fn moment(name: &str, text: &str) -> Result<Timestamp, Problem> {
    let moment = DateTime::parse_from_rfc3339(text).map_err(|error| {
        Problem::new(Kind::INVALID, format!("`{name}` must be a time like 2026-11-29T12:00:00Z: {error}"))
    })?;
    Ok(Timestamp::from_micros(u64::try_from(moment.timestamp_micros()).unwrap_or(0)))
}
