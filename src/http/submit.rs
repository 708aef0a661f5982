//! Submits: one job or many, in the background, or waited for, or followed as they go.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Submitter};
use super::answer::{self, is_false};
use super::body;
use super::idempotency::{self, Answer, Verdict};
use super::params::{Name, Params, PriorityName};
use super::problem::{Described, Kind, Problem};
use super::session::Session;
use super::shared::{Queues, Shared};
use super::values::Raw;
use super::wait::{Finished, Followed, Following, ManyFinished, What, follow};
use crate::broker::Broker;
use crate::policy::{Terms, seconds, whole};
use crate::protocol::{self, Mode, Spec, Submit};
use crate::trace_context::TraceContext;
use crate::types::{Priority, Timestamp};

/// Jobs of one request.
const MOST: usize = 10_000;

/// A job to be submitted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewJob)]
pub(super) struct New {
    /// The function; or `function_base64`.
    #[schema(min_length = 1, pattern = "^[^\\u0000]*$")]
    function: Option<String>,
    #[schema(min_length = 1, format = Byte)]
    function_base64: Option<String>,
    /// Jobs of one function with the same unique id are one job as long as it is not over.
    #[schema(pattern = "^[^\\u0000]*$")]
    unique: Option<String>,
    #[schema(format = Byte)]
    unique_base64: Option<String>,
    /// The payload as text; or `payload_base64`; empty without both.
    payload: Option<String>,
    #[schema(format = Byte)]
    payload_base64: Option<String>,
    #[serde(default)]
    priority: PriorityName,
    /// Not to be handed out for so long.
    #[serde(default, deserialize_with = "seconds::deserialize")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    delay: Option<Duration>,
    /// Not to be handed out before this time.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The reducer of a reduce job.
    #[schema(pattern = "^[^\\u0000]*$")]
    reducer: Option<String>,
    /// How often it may be handed out, at most; 0: as often as need be. This and what follows counts before the policy of
    /// the function.
    #[serde(default, deserialize_with = "whole::deserialize")]
    attempts: Option<u32>,
    /// How long an attempt may run; 0: as long as it takes.
    #[serde(default, deserialize_with = "seconds::deserialize")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    run_timeout: Option<Duration>,
    /// How long it is kept after its end, with its payload and result.
    #[serde(default, deserialize_with = "seconds::deserialize")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    keep: Option<Duration>,
    /// MIME type of its result.
    #[schema(max_length = 255, pattern = "^[!-.0-~]+/[!-~][ -~]*$")]
    mime: Option<String>,
}

/// One job, or an array of them.
#[derive(ToSchema)]
#[schema(as = NewJobs)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `Jobs` reads")]
enum OneOrMany {
    One(Box<New>),
    Many(NewMany),
}

#[derive(ToSchema)]
#[schema(min_items = 1, max_items = 10_000)]
#[expect(dead_code, reason = "describes what `Jobs` reads")]
struct NewMany(Vec<New>);

/// What came.
enum Jobs {
    One(Box<New>),
    Many(Vec<New>),
}

/// Counts while it reads: an array of millions of jobs is refused before it fills the memory.
#[derive(Default)]
struct JobsVisitor {
    /// The item of an array that is being read.
    item: Cell<Option<usize>>,
}

impl<'de> DeserializeSeed<'de> for &JobsVisitor {
    type Value = Jobs;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Jobs, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &JobsVisitor {
    type Value = Jobs;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a job, or an array of 1 to {MOST} jobs")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Jobs, A::Error> {
        New::deserialize(MapAccessDeserializer::new(map)).map(|job| Jobs::One(Box::new(job)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Jobs, A::Error> {
        let mut jobs = Vec::new();
        loop {
            self.item.set(Some(jobs.len()));
            let job = seq.next_element()?;
            self.item.set(None);
            let Some(job) = job else { break };
            if jobs.len() == MOST {
                return Err(serde::de::Error::invalid_length(MOST + 1, &self));
            }
            jobs.push(job);
        }
        if jobs.is_empty() {
            return Err(serde::de::Error::invalid_length(0, &self));
        }
        Ok(Jobs::Many(jobs))
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Answer when the jobs are over, with their results. They end with the request then: no one else is to have them.
    #[serde(default)]
    wait: bool,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HowOne {
    /// Answer when the job is over, with its result. It ends with the request then: no one else is to have it.
    #[serde(default)]
    wait: bool,
    /// Jobs of one function with the same unique id are one job as long as it is not over.
    #[param(pattern = "^[^\\u0000]*$")]
    unique: Option<String>,
    priority: Option<PriorityName>,
    /// Not to be handed out for so long.
    #[serde(default, deserialize_with = "seconds::in_address")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    delay: Option<Duration>,
    /// Not to be handed out before this time.
    #[param(format = DateTime)]
    at: Option<String>,
    /// The reducer of a reduce job.
    #[param(pattern = "^[^\\u0000]*$")]
    reducer: Option<String>,
    /// How often it may be handed out, at most; 0: as often as need be.
    #[serde(default, deserialize_with = "whole::in_address")]
    attempts: Option<u32>,
    /// How long an attempt may run; 0: as long as it takes.
    #[serde(default, deserialize_with = "seconds::in_address")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    run_timeout: Option<Duration>,
    /// How long it is kept after its end, with its payload and result.
    #[serde(default, deserialize_with = "seconds::in_address")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    keep: Option<Duration>,
    /// MIME type of its result.
    #[param(max_length = 255, pattern = "^[!-.0-~]+/[!-~][ -~]*$")]
    mime: Option<String>,
}

/// What a request to submit is told apart by, and what it is part of.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `Asked::answer` reads")]
struct Marks {
    /// A second request with the same key and body is answered as the first was.
    #[param(rename = "idempotency-key", min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$")]
    idempotency_key: Option<String>,
    /// The trace and span that the jobs are children of, as W3C Trace Context has it; ignored if it is malformed, and without
    /// `--otlp`.
    traceparent: Option<String>,
    /// Passed on with it, up to 512 characters.
    tracestate: Option<String>,
}

/// A job that was taken.
#[derive(Serialize, ToSchema)]
struct Submitted {
    handle: String,
    /// Whether it was there already: another submit with its unique id made it, and it is not over, or not for longer than the
    /// function's `unique_window`.
    #[serde(skip_serializing_if = "is_false")]
    joined: bool,
}

/// What became of each job of an array, in its order.
#[derive(Serialize)]
struct ManySubmitted {
    items: Vec<Outcome>,
}

/// What became of one job of an array: its handle, or the problem.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Submitted(Submitted),
    Refused { problem: Value },
}

#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of `submit`")]
enum Answers {
    Finished(Box<Finished>),
    Many(ManyFinished),
    // The others have all that this one has: a client that takes the first that fits must come to it last.
    Joined(Submitted),
}

#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of `submit_payload`")]
enum AnswersToOne {
    Finished(Box<Finished>),
    Joined(Submitted),
}

/// Submit jobs
///
/// In the background, unless `wait` says otherwise or `Accept: text/event-stream` asks to follow them. A job in the
/// background is on disk when it is answered.
///
/// The events of a stream: `created` and `refused` for each job with its `index`; `data`, `warning` and `status` as the worker
/// sends them; `result`, `failed` (with the job's `state` and `reason`) or `exception` at a job's end. The stream ends with the last job.
///
/// With `Idempotency-Key` a second request with the same key and body is answered as the first was, and submits nothing. It is
/// remembered for a day, so long as no more than 10,000 came since and the server runs. Not with jobs that are waited for: they
/// end with their request.
#[utoipa::path(post, operation_id = "submit_jobs", path = "/jobs", tag = "jobs",
    params(How, Marks),
    request_body = OneOrMany,
    responses(
        (status = 201, description = "One job, in the background", body = Submitted, headers(("location" = String))),
        (status = 200, description = "Many jobs, or jobs that were waited for, or one that was there already: its unique id is known",
            content((Answers = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
pub(super) async fn submit(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Submitter(caller): Submitter,
    Params(How { wait }): Params<How>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked = Asked { shared, broker, caller, wait, uri, headers };
    let read = |body: Bytes, headers: &HeaderMap| {
        body::must_be(body::JSON, headers)?;
        read_jobs(&body)
    };
    asked.answer(body, read).await
}

/// Submit one job whose payload is the body
///
/// As it stands, of whatever kind. Else as many are submitted: in the background unless `wait` says otherwise or it is followed.
#[utoipa::path(post, operation_id = "submit_payload", path = "/functions/{function}/jobs", tag = "jobs",
    params(("function" = String, Path), HowOne, Marks),
    request_body(content = inline(Raw), content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The job, in the background", body = Submitted, headers(("location" = String))),
        (status = 200, description = "The job, which was waited for, or was there already: its unique id is known",
            content((AnswersToOne = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub(super) async fn submit_payload(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Submitter(caller): Submitter,
    Name(function): Name,
    Params(how): Params<HowOne>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let HowOne { wait, unique, priority, delay, at, reducer, attempts, run_timeout, keep, mime } = how;
    let [unique, reducer] = [unique, reducer].map(|text| text.unwrap_or_default().into_bytes());
    let (function, priority) = (function.to_vec(), priority.unwrap_or_default());
    let wishes = Wishes { attempts, run_timeout, keep, mime };
    let asked = Asked { shared, broker, caller, wait, uri, headers };
    let read = |payload: Bytes, _: &HeaderMap| {
        Ok((vec![Job { function, unique, reducer, payload, priority, delay, at, wishes }], false))
    };
    asked.answer(body, read).await
}

/// A request to submit.
struct Asked {
    shared: Arc<Shared>,
    broker: Arc<Broker>,
    caller: Caller,
    wait: bool,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    async fn answer(
        self,
        body: Body,
        read: impl FnOnce(Bytes, &HeaderMap) -> Result<(Vec<Job>, bool), Problem>,
    ) -> Result<Response, Problem> {
        let Asked { shared, broker, caller, wait, uri, headers } = self;
        let is_followed = answer::wants_events(&headers);
        let is_waited = wait || is_followed;
        let key = idempotency::key_of(&headers, &caller.key)?;
        if key.is_some() && is_waited {
            let detail = "`Idempotency-Key` is for jobs in the background: those that are waited for end with the request";
            return Err(Problem::new(Kind::INVALID, detail));
        }
        let received = shared.bodies.read(&headers, body).await?;
        let fingerprint = key.as_ref().map(|_| {
            let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
            let query = uri.query().unwrap_or_default();
            idempotency::fingerprint(&[uri.path().as_bytes(), query.as_bytes(), kind, &received.bytes])
        });
        let (jobs, is_array) = read(received.bytes.clone(), &headers)?;
        drop(received);
        let now = shared.clock.now();
        let submits: Vec<(Submit, Terms)> = jobs
            .into_iter()
            .enumerate()
            .map(|(index, job)| {
                let submit = job
                    .into_submit(now, is_waited)
                    .and_then(|(submit, terms)| Ok((allowed(&caller, submit)?, terms)));
                submit.map_err(|problem| if is_array { problem.with("index", index) } else { problem })
            })
            .collect::<Result<_, _>>()?;
        let is_traced = shared.opened().is_ok_and(|opened| opened.traces.is_some());
        let submits = match trace_of(&headers).filter(|_| is_traced) {
            Some(trace) => with_trace(submits, &trace),
            None => submits,
        };
        let session = Session::open(broker, shared.clock.clone(), caller.address);
        if is_waited {
            let following = Following::begin(session, submits).await;
            return if is_followed {
                follow(following, is_array).await
            } else {
                super::wait::wait(following, is_array).await
            };
        }
        let Some((key, fingerprint)) = key.zip(fingerprint) else {
            return in_background(session, submits, is_array).await.map(|answer| to_response(answer, false));
        };
        if let Verdict::Again(answer) = shared.answered.begin(now, &key, fingerprint)? {
            return Ok(to_response(answer, true));
        }
        // Goes on although the caller may go: what came of it must be known when it asks again.
        let done = tokio::spawn(async move {
            let answer = in_background(session, submits, is_array).await;
            shared.answered.end(&key, answer.as_ref().ok().cloned());
            answer
        });
        let answer = done.await.map_err(|error| Problem::new(Kind::BROKEN, error.to_string()))??;
        Ok(to_response(answer, false))
    }
}

/// The trace that the request is part of. The standard wants exactly one `traceparent`; what is not as it wants is as none.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let states: Option<Vec<&str>> =
        headers.get_all("tracestate").iter().map(|state| state.to_str().ok()).collect();
    TraceContext::parse(parent.to_str().ok()?, &states.unwrap_or_default().join(","))
}

fn with_trace(mut submits: Vec<(Submit, Terms)>, trace: &TraceContext) -> Vec<(Submit, Terms)> {
    for (_, terms) in &mut submits {
        terms.trace = Some(Box::new(trace.clone()));
    }
    submits
}

/// The jobs of a JSON body, and whether it is an array.
fn read_jobs(body: &[u8]) -> Result<(Vec<Job>, bool), Problem> {
    let visitor = JobsVisitor::default();
    let mut from = serde_json::Deserializer::from_slice(body);
    let jobs =
        visitor.deserialize(&mut from).and_then(|jobs| from.end().map(|()| jobs)).map_err(|error| {
            let kind = if error.is_data() { Kind::INVALID } else { Kind::UNREADABLE };
            let problem = Problem::new(kind, error.to_string());
            match visitor.item.get() {
                Some(index) => problem.with("index", index),
                None => problem,
            }
        })?;
    Ok(match jobs {
        Jobs::One(job) => (vec![Job::try_from(*job)?], false),
        Jobs::Many(jobs) => {
            let jobs = jobs.into_iter().enumerate();
            let read =
                jobs.map(|(index, job)| Job::try_from(job).map_err(|problem| problem.with("index", index)));
            (read.collect::<Result<_, _>>()?, true)
        }
    })
}

/// A job to be submitted, however it was told.
struct Job {
    function: Vec<u8>,
    unique: Vec<u8>,
    reducer: Vec<u8>,
    payload: Bytes,
    priority: PriorityName,
    delay: Option<Duration>,
    at: Option<String>,
    wishes: Wishes,
}

/// What it asks for beyond the protocol, as it was told.
struct Wishes {
    attempts: Option<u32>,
    run_timeout: Option<Duration>,
    keep: Option<Duration>,
    mime: Option<String>,
}

impl Wishes {
    fn into_terms(self) -> Result<Terms, Problem> {
        let is_mime = |mime: &String| {
            let is_graphic =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            mime.len() <= 255
                && mime.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
                && mime
                    .split_once('/')
                    .is_some_and(|(kind, rest)| is_graphic(kind) && rest.starts_with(|c| c > ' '))
        };
        if self.mime.as_ref().is_some_and(|mime| !is_mime(mime)) {
            return Err(Problem::new(Kind::INVALID, "`mime` must be a type like `image/png`"));
        }
        let Wishes { attempts, run_timeout, keep, mime } = self;
        Ok(Terms { attempts, run_timeout, keep, mime, trace: None })
    }
}

impl TryFrom<New> for Job {
    type Error = Problem;

    fn try_from(new: New) -> Result<Self, Problem> {
        let New { priority, delay, at, attempts, run_timeout, keep, mime, .. } = new;
        Ok(Job {
            function: bytes("function", new.function, new.function_base64)?,
            unique: bytes("unique", new.unique, new.unique_base64)?,
            reducer: new.reducer.unwrap_or_default().into_bytes(),
            payload: bytes("payload", new.payload, new.payload_base64)?.into(),
            priority,
            delay,
            at,
            wishes: Wishes { attempts, run_timeout, keep, mime },
        })
    }
}

/// A field that is told as text or in base64.
fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, Problem> {
    match (text, base64) {
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::INVALID, format!("Say `{name}` or `{name}_base64`, not both")))
        }
        (text, None) => Ok(text.unwrap_or_default().into_bytes()),
        (None, Some(text)) => BASE64_STANDARD
            .decode(text)
            .map_err(|error| Problem::new(Kind::INVALID, format!("`{name}_base64` is not base64: {error}"))),
    }
}

impl Job {
    fn into_submit(self, now: Timestamp, is_waited: bool) -> Result<(Submit, Terms), Problem> {
        let invalid = |detail: &'static str| Problem::new(Kind::INVALID, detail);
        if self.function.is_empty() {
            return Err(invalid("A job needs a `function`"));
        }
        if [&self.function, &self.unique, &self.reducer].iter().any(|name| name.contains(&0)) {
            return Err(invalid("`function`, `unique` and `reducer` cannot have a NUL byte in them"));
        }
        let due = match (self.delay, self.at) {
            (Some(_), Some(_)) => return Err(invalid("Say `delay` or `at`, not both")),
            (Some(delay), None) => Some(now.after(delay)),
            (None, Some(at)) => Some(moment(&at)?),
            (None, None) => None,
        };
        let mode = match due {
            Some(due) if is_waited => Mode::ForegroundAt(due),
            Some(due) => Mode::At(due),
            None if is_waited => Mode::Foreground,
            None => Mode::Background,
        };
        let (kind, fields) = if self.reducer.is_empty() {
            (protocol::Kind::SubmitJob, vec![&self.function, &self.unique])
        } else {
            // Its last field, which servers pass on unread, stays empty.
            (protocol::Kind::SubmitReduceJob, vec![&self.function, &self.unique, &self.reducer, EMPTY])
        };
        let mut body =
            BytesMut::with_capacity(self.function.len() + self.unique.len() + self.payload.len() + 8);
        for field in fields {
            body.extend_from_slice(field);
            body.extend_from_slice(&[0]);
        }
        body.extend_from_slice(&self.payload);
        let (spec, _) = Spec::parse(kind, body.freeze())?;
        let terms = self.wishes.into_terms()?;
        Ok((Submit { mode, priority: Priority::from(self.priority), spec }, terms))
    }
}

const EMPTY: &Vec<u8> = &Vec::new();

/// A time of day as RFC 3339 has it; one before 1970 is due like any that is past.
fn moment(text: &str) -> Result<Timestamp, Problem> {
    let moment = DateTime::parse_from_rfc3339(text).map_err(|error| {
        Problem::new(Kind::INVALID, format!("`at` must be a time like 2026-11-29T12:00:00Z: {error}"))
    })?;
    Ok(Timestamp::from_micros(u64::try_from(moment.timestamp_micros()).unwrap_or(0)))
}

fn allowed(caller: &Caller, submit: Submit) -> Result<Submit, Problem> {
    if caller.sees(submit.spec.function()) {
        return Ok(submit);
    }
    Err(Problem::new(Kind::NOT_ALLOWED, "The token is not good for this function"))
}

/// Submits, and answers when all is safe.
async fn in_background(
    session: Session,
    submits: Vec<(Submit, Terms)>,
    is_array: bool,
) -> Result<Answer, Problem> {
    let count = submits.len();
    let mut following = Following::begin(session, submits).await;
    let mut items = Vec::with_capacity(count);
    while items.len() < count {
        match following.next().await? {
            Some(Followed { what: What::Created { joined, .. }, handle, .. }) => {
                items.push(Ok(Submitted { handle, joined }));
            }
            Some(Followed { what: What::Refused(problem), .. }) => items.push(Err(problem)),
            // Who does not wait is sent nothing else.
            _ => return Err(Problem::new(Kind::BROKEN, "A submit was not answered")),
        }
    }
    if is_array {
        let items = items.into_iter().map(|item| match item {
            Ok(submitted) => Outcome::Submitted(submitted),
            Err(problem) => Outcome::Refused { problem: problem.to_json() },
        });
        let body = answer::to_bytes(&ManySubmitted { items: items.collect() })?;
        return Ok(Answer { status: StatusCode::OK.as_u16(), location: None, body });
    }
    let submitted = items.pop().ok_or_else(|| Problem::new(Kind::BROKEN, "Nothing was submitted"))??;
    let location = Some(format!("/api/v1/jobs/{}", submitted.handle));
    let status = if submitted.joined { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Answer { status: status.as_u16(), location, body: answer::to_bytes(&submitted)? })
}

fn to_response(answer: Answer, is_replay: bool) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response();
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if is_replay {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}
