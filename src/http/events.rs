//! What happens to all jobs, as it happens.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::keep_alive;
use super::log::told;
use super::params::Params;
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::{Moment, text_or_base64};
use crate::broker::{Broker, Watch};
use crate::engine::Note;
use crate::history;
use crate::types::{JobId, Pattern};

/// What may be asked for.
pub(super) const WHAT: [&str; 18] = [
    "submitted",
    "due",
    "started",
    "progress",
    "data",
    "warning",
    "attempt_ended",
    "held",
    "released",
    "priority",
    "retried",
    "run",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
    "dropped",
    "retired",
];

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only of these functions; `*` stands for any text.
    function: Option<String>,
    /// Only of this job.
    handle: Option<String>,
    /// Only these events, separated by commas.
    what: Option<String>,
}

/// Follow what happens
///
/// Events: `submitted`, `due` (its time has come), `started`, `progress`, `data`, `warning`, `attempt_ended`, `held`, `released`, `priority`, `retried`, `run`,
/// `cancelling`, `succeeded`, `failed`, `cancelled`, `dropped` (its clients left before it was done), `retired` (nothing is kept
/// of the job any more); each with `at`, `handle`, `function` and what else there is to tell, as in a job's log. Nobody is waited for: who reads too slowly gets the event
/// `missed`, with how many events there were of whatever kind. 64 streams of this kind and of jobs' logs may be open at once.
#[utoipa::path(get, operation_id = "follow_events", path = "/events", tag = "jobs", params(Which),
    responses(
        (status = 200, description = "What happens from now on", body = String, content_type = "text/event-stream"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn events(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(Which { function, handle, what }): Params<Which>,
) -> Result<Response, Problem> {
    let what = what.map(|what| what.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>());
    if let Some(unknown) = what.iter().flatten().find(|word| !WHAT.contains(&word.as_str())) {
        return Err(Problem::new(Kind::INVALID, format!("There is no event {unknown:?}")));
    }
    let id = handle
        .map(|handle| {
            let id = broker.view(|engine| engine.parse_handle(handle.as_bytes()));
            id.ok_or_else(|| Problem::new(Kind::INVALID, format!("{handle:?} is no handle of this server")))
        })
        .transpose()?;
    let watching = Watching {
        _room: shared.watcher()?,
        watch: broker.watch(),
        prefix: broker.view(|engine| engine.handle_prefix().to_owned()),
        shared,
        _broker: broker,
        caller,
        function: function.map(Pattern::new),
        id,
        what,
    };
    let events = stream::unfold(watching, |mut watching| async {
        watching.next().await.map(|event| (Ok::<_, Infallible>(event), watching))
    });
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

/// One who watches.
struct Watching {
    shared: Arc<Shared>,
    _broker: Arc<Broker>,
    watch: Watch,
    caller: Caller,
    prefix: String,
    function: Option<Pattern>,
    id: Option<JobId>,
    what: Option<Vec<String>>,
    _room: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(&mut self) -> Option<Event> {
        let mut stopped = self.shared.stopped.clone();
        loop {
            let heard = tokio::select! {
                heard = self.watch.next() => heard?,
                _ = stopped.wait_for(|stopped| *stopped) => return None,
            };
            match heard {
                Ok(note) => {
                    if let Some(event) = self.to_event(&note) {
                        return Some(event);
                    }
                }
                Err(missed) => {
                    return Some(
                        Event::default().event("missed").data(json!({"missed": missed}).to_string()),
                    );
                }
            }
        }
    }

    fn to_event(&self, note: &Note) -> Option<Event> {
        let is_asked = self.id.is_none_or(|id| id == note.job)
            && self.function.as_ref().is_none_or(|pattern| pattern.matches(&note.function))
            && self.caller.sees(&note.function);
        if !is_asked {
            return None;
        }
        let fields = told(history::fields(&note.what));
        let name = fields.get("what").and_then(Value::as_str)?.to_owned();
        if self.what.as_ref().is_some_and(|wanted| !wanted.contains(&name)) {
            return None;
        }
        let mut all = Map::new();
        all.insert("at".to_owned(), serde_json::to_value(Moment(note.at)).ok()?);
        all.insert("handle".to_owned(), format!("{}:{}", self.prefix, note.job.0).into());
        match text_or_base64(&note.function) {
            (Some(text), _) => all.insert("function".to_owned(), text.into()),
            (_, base64) => all.insert("function_base64".to_owned(), base64.into()),
        };
        all.extend(fields);
        Some(Event::default().event(name).data(Value::Object(all).to_string()))
    }
}
