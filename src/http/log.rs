//! The log of a job: what was written down of it, and what its own fields tell. Told in pages, or live.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::answer::{json, keep_alive, wants_events};
use super::jobs::{find, no_job};
use super::page::{self, MOST};
use super::params::{Name, Params, PriorityName};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared, read_history};
use super::values::Moment;
use crate::broker::{Broker, Watch};
use crate::engine::view::{JobRow, JobState};
use crate::engine::{Note, Outcome, Reach, Reason, What, Worker};
use crate::history::{self, History, HistoryError};
use crate::policy::whole;
use crate::types::{JobId, Timestamp};

/// Where a stream that broke goes on.
const LAST_EVENT_ID: &str = "last-event-id";

/// Entries that are looked at to find a serial number which no other has.
const NEAR: usize = 256;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(log))
}

/// One thing that happened to a job.
#[derive(ToSchema)]
#[schema(as = LogEntry)]
#[expect(dead_code, reason = "describes what `told` writes")]
struct DescribedEntry {
    /// The moment in microseconds, or a little more where two would be equal. Counts up.
    serial: u64,
    #[schema(format = DateTime)]
    at: String,
    /// `submitted`, `due` (its time has come), `started`, `progress`, `data`, `warning`, `attempt_ended`, `held`, `released`,
    /// `priority`, `retried`, `run`, `cancelling`, `succeeded`, `failed`, `cancelled` or `retired`.
    what: String,
    /// Which attempt, from 1.
    attempt: Option<u32>,
    /// When it began, if it has ended.
    #[schema(format = DateTime)]
    started: Option<String>,
    /// When it is tried again.
    #[schema(format = DateTime)]
    again: Option<String>,
    /// Why the attempt, or the job, came to nothing; why a job was `retired`: `time` (it was kept for as long as it was to be),
    /// `count` (more were kept than may be), `memory` (it was short) or `deleted`.
    reason: Option<String>,
    /// Who had it; missing: the server was killed meanwhile, and does not know.
    worker: Option<super::jobs::Worker>,
    /// The last part of what the worker sent.
    data: Option<String>,
    /// The same, if it is not UTF-8.
    data_base64: Option<String>,
    /// How far the worker was.
    numerator: Option<u32>,
    denominator: Option<u32>,
    /// The priority that it was given.
    priority: Option<PriorityName>,
}

/// A page of the log.
#[derive(Serialize, ToSchema)]
struct LogPage {
    #[schema(value_type = Vec<DescribedEntry>)]
    items: Vec<Value>,
    /// Give this as `after` for the next page; null: this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Since {
    /// Only entries with a larger serial number.
    #[serde(default, deserialize_with = "whole::in_address")]
    newer_than: Option<u64>,
    /// Most entries of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[serde(default, deserialize_with = "whole::in_address")]
    after: Option<u64>,
}

/// What happened to a job
///
/// The oldest first. With `Accept: text/event-stream` the log is followed until the job has ended: an event for each entry,
/// with its serial number as the `id`, by which a stream that broke goes on (`Last-Event-ID`). Of `progress` the log has one
/// entry a second at most; what comes between is told without an `id`, as it comes.
#[utoipa::path(get, operation_id = "get_job_log", path = "/jobs/{handle}/log", tag = "jobs", params(("handle" = String, Path), Since,
        ("last-event-id" = Option<u64>, Header, description = "The `id` of the last event of a stream that broke")),
    responses(
        (status = 200, description = "A page of it, or all as it comes",
            content((LogPage = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn log(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Reader(caller): Reader,
    name: Name,
    Params(Since { newer_than, limit, after }): Params<Since>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = page::limit(limit)?;
    let found = find(&broker, &caller, &name);
    // Of a job that is gone the log is there for a while; not for who must not see every function.
    let id = match &found {
        Ok(row) => row.id,
        Err(_) if caller.functions().is_empty() => {
            broker.view(|engine| engine.parse_handle(&name.0)).ok_or_else(|| no_job(&name))?
        }
        Err(problem) => return Err(problem.clone()),
    };
    let is_followed = wants_events(&headers) && found.is_ok();
    let last = headers.get(LAST_EVENT_ID).map(|id| {
        let id = id.to_str().ok().and_then(|id| u64::try_from(id.trim().parse::<i64>().ok()?).ok());
        id.ok_or_else(|| {
            Problem::new(Kind::UNREADABLE, "`Last-Event-ID` must be the `id` of an event of a log")
        })
    });
    let last = last.transpose()?;
    let newer_than = [newer_than, after, last].into_iter().flatten().max().unwrap_or(0);
    let source = Source { shared, broker, id };
    if is_followed {
        return follow(source, newer_than);
    }
    let Some(Read { entries, is_more, .. }) = source.read(newer_than, limit).await? else {
        return Err(no_job(&name));
    };
    let next = entries.last().filter(|_| is_more).map(|(serial, _)| serial.to_string());
    let items = entries.into_iter().map(|(serial, fields)| to_json(serial, fields)).collect();
    json(StatusCode::OK, &LogPage { items, next })
}

/// Where the log of one job is read.
struct Source {
    shared: Arc<Shared>,
    broker: Arc<Broker>,
    id: JobId,
}

/// An entry with its serial number.
type Numbered = (u64, Map<String, Value>);

/// What was read of it.
struct Read {
    entries: Vec<Numbered>,
    is_more: bool,
    /// Nothing more will come but that it is gone.
    is_over: bool,
}

impl Source {
    /// `None`: there is no such job, and nothing is known of one.
    async fn read(&self, newer_than: u64, limit: usize) -> Result<Option<Read>, Problem> {
        let row = self.broker.view(|engine| engine.job_row(self.id));
        let is_there = row.is_some();
        let is_over = row.as_ref().is_none_or(|row| row.state.is_over());
        let id = self.id;
        let made_up = row.map(|row| made_up(&row)).unwrap_or_default();
        let mut entries = match self.shared.opened()?.history.clone() {
            Some(history) => {
                read_history(history, move |history| merge(history, id, made_up, newer_than, limit + 1))
                    .await?
            }
            None => {
                let mut last = 0;
                let raise = made_up.into_iter().map(|entry| {
                    last = entry.serial.max(last + 1);
                    (last, entry.fields)
                });
                raise.filter(|(serial, _)| *serial > newer_than).collect()
            }
        };
        if !is_there && entries.is_empty() && newer_than == 0 {
            return Ok(None);
        }
        let is_more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Some(Read { entries, is_more, is_over }))
    }
}

/// An entry that the fields of a job tell, until it is written down.
struct MadeUp {
    /// What is written down of it has no smaller serial number.
    from: u64,
    /// The serial number, if no entry has it.
    serial: u64,
    fields: Map<String, Value>,
}

fn made_up(row: &JobRow) -> Vec<MadeUp> {
    let mut all = Vec::new();
    let mut add = |from: u64, serial: u64, what: &What| {
        all.push(MadeUp { from, serial, fields: history::fields(what) });
    };
    if let Some(at) = row.submitted.map(Timestamp::as_micros) {
        add(at, at, &What::Submitted);
    }
    if let Some(at) = row.last_start {
        let worker = row.worker.as_ref().map(|worker| Worker {
            conn: worker.id.0,
            address: worker.address.to_string(),
            client_id: worker.client_id.to_string(),
        });
        let what = What::Started { attempt: row.attempts.max(1), worker: worker.unwrap_or_default() };
        let serial = row.start_serial.unwrap_or(at.as_micros());
        add(serial, serial, &what);
    }
    let outcome = match row.state {
        JobState::Succeeded => Some(Outcome::Succeeded),
        JobState::Cancelled => Some(Outcome::Cancelled),
        JobState::Failed => Some(Outcome::Failed(row.reason.unwrap_or(Reason::Failed))),
        _ => None,
    };
    if let Some((at, outcome)) = row.ended.zip(outcome) {
        let at = at.as_micros();
        add(at, row.end_serial.unwrap_or(at), &What::Ended(outcome));
    }
    all
}

/// Puts what is made up and not written down yet among what is, where no entry has its serial number.
fn merge(
    history: &History,
    id: JobId,
    made_up: Vec<MadeUp>,
    newer_than: u64,
    limit: usize,
) -> Result<Vec<Numbered>, HistoryError> {
    let notes = history.notes(id, newer_than, limit)?;
    let mut entries: Vec<_> = notes.into_iter().map(|note| (note.serial, note.fields())).collect();
    let mut last = 0;
    for MadeUp { from, serial, fields } in made_up {
        // An end is among the last, however much came in its moment.
        let near = if is_end(&fields) {
            let mut last = history.last_notes(id, NEAR)?;
            last.retain(|note| note.serial >= from);
            last.reverse();
            last
        } else {
            history.notes(id, from.saturating_sub(1), NEAR)?
        };
        let written = near.iter().find(|note| is_same(&fields, &note.fields()));
        if let Some(written) = written {
            last = written.serial;
            continue;
        }
        let mut serial = serial.max(last + 1);
        for note in near {
            if note.serial == serial {
                serial += 1;
            }
        }
        last = serial;
        if serial > newer_than {
            entries.push((serial, fields));
        }
    }
    entries.sort_by_key(|(serial, _)| *serial);
    entries.truncate(limit);
    Ok(entries)
}

/// Whether two entries tell of the same thing, if they are of about the same time.
fn is_same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let word = |fields: &Map<String, Value>| fields.get("what").and_then(Value::as_str).map(str::to_owned);
    let (one, other) = (word(one).unwrap_or_default(), word(other).unwrap_or_default());
    one == other || (is_end_word(&one) && is_end_word(&other))
}

fn is_end(fields: &Map<String, Value>) -> bool {
    fields.get("what").and_then(Value::as_str).is_some_and(is_end_word)
}

fn is_end_word(what: &str) -> bool {
    matches!(what, "succeeded" | "failed" | "cancelled")
}

/// Fields of the history as they are told: moments as such, and nothing that says nothing.
pub(super) fn told(fields: Map<String, Value>) -> Map<String, Value> {
    let tell = |(name, value): (String, Value)| match (name.strip_suffix("_micros"), value) {
        (_, Value::Null) => None,
        (Some(short), Value::Number(micros)) => {
            let at = Timestamp::from_micros(micros.as_u64().unwrap_or_default());
            Some((short.to_owned(), serde_json::to_value(Moment(at)).unwrap_or_default()))
        }
        (_, value) => Some((name, value)),
    };
    fields.into_iter().filter_map(tell).collect()
}

fn to_json(serial: u64, fields: Map<String, Value>) -> Value {
    let mut entry = Map::new();
    entry.insert("serial".to_owned(), serial.into());
    let at = Moment(Timestamp::from_micros(serial));
    entry.insert("at".to_owned(), serde_json::to_value(at).unwrap_or_default());
    entry.extend(told(fields));
    Value::Object(entry)
}

/// One who follows the log of a job.
struct Following {
    source: Source,
    watch: Watch,
    newer_than: u64,
    events: VecDeque<Event>,
    /// There may be entries that are not read.
    is_stale: bool,
    is_ended: bool,
    /// How it ended, as was heard: nothing may be kept of it by the time that it is looked at.
    end: Option<Note>,
    _room: OwnedSemaphorePermit,
}

fn follow(source: Source, newer_than: u64) -> Result<Response, Problem> {
    let room = source.shared.watcher()?;
    // Before anything is read: what happens from now on is heard of.
    let watch = source.broker.watch();
    let following = Following {
        source,
        watch,
        newer_than,
        events: VecDeque::new(),
        is_stale: true,
        is_ended: false,
        end: None,
        _room: room,
    };
    let events = stream::unfold(following, |mut following| async {
        following.next().await.map(|event| (Ok::<_, Infallible>(event), following))
    });
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.is_ended {
                return None;
            }
            if self.is_stale {
                self.read().await;
            } else {
                self.hear().await;
            }
        }
    }

    async fn read(&mut self) {
        match self.source.read(self.newer_than, MOST).await {
            Ok(Some(Read { entries, is_more, is_over })) => {
                for (serial, fields) in entries {
                    self.tell(serial, fields);
                }
                self.is_stale = is_more;
                self.is_ended = is_over && !is_more;
                if let Some(end) = self.end.take_if(|_| self.is_ended) {
                    self.tell(end.serial.max(self.newer_than + 1), history::fields(&end.what));
                }
            }
            Ok(None) => self.is_ended = true,
            Err(problem) => {
                self.events.push_back(Event::default().event("ended").data(problem.to_json().to_string()));
                self.is_ended = true;
            }
        }
    }

    fn tell(&mut self, serial: u64, fields: Map<String, Value>) {
        self.newer_than = serial;
        let entry = to_json(serial, fields);
        let name = entry["what"].as_str().unwrap_or("unknown").to_owned();
        if is_end_word(&name) {
            self.end = None;
        }
        let event = Event::default().id(serial.to_string()).event(name).data(entry.to_string());
        self.events.push_back(event);
    }

    async fn hear(&mut self) {
        let mut stopped = self.source.shared.stopped.clone();
        let note = tokio::select! {
            note = self.watch.next() => note,
            _ = stopped.wait_for(|stopped| *stopped) => None,
        };
        match note {
            None => self.is_ended = true,
            Some(Err(_)) => self.is_stale = true,
            Some(Ok(note)) if note.job != self.source.id => {}
            Some(Ok(note)) if matches!(note.what, What::Progress(_)) && note.reach == Reach::Watchers => {
                let fields = told(history::fields(&note.what));
                let event = Event::default().event("progress").data(Value::Object(fields).to_string());
                self.events.push_back(event);
            }
            Some(Ok(note)) => {
                self.is_stale = true;
                self.end = Some(note).filter(|note| matches!(note.what, What::Ended(_)));
            }
        }
    }
}
