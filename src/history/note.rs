//! What the engine tells of a job, as entries of its log and as events: a word for what happened, and its fields as JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::{Audit, Entry};
use crate::engine::{Deed, Note, Outcome, SAID, What, Worker};
use crate::types::{Priority, Timestamp};

/// The kind of entries that are JSON.
const JSON: u8 = 1;

impl From<Note> for Entry {
    fn from(note: Note) -> Self {
        let data = serde_json::to_vec(&fields(&note.what)).unwrap_or_default();
        Entry { job: note.job, serial: note.serial, kind: JSON, data }
    }
}

impl From<Deed> for Audit {
    fn from(deed: Deed) -> Self {
        let Deed { at, address, action, target } = deed;
        let (who, action) = (format!("{address} (text protocol)"), action.to_owned());
        Audit { serial: 0, time: at, who, action, target, outcome: "done".to_owned() }
    }
}

impl Entry {
    /// What it says; empty if it is of a kind that a newer version writes.
    pub fn fields(&self) -> Map<String, Value> {
        if self.kind == JSON { serde_json::from_slice(&self.data).unwrap_or_default() } else { Map::new() }
    }
}

/// What happened, as fields; `what` is the word for it.
pub fn fields(what: &What) -> Map<String, Value> {
    let value = match what {
        What::Submitted => json!({"what": "submitted"}),
        What::Due => json!({"what": "due"}),
        What::Started { attempt, worker } => {
            json!({"what": "started", "attempt": attempt, "worker": self::worker(worker)})
        }
        What::Progress(numbers) => json!({
            "what": "progress", "numerator": numbers.numerator, "denominator": numbers.denominator
        }),
        What::Data(body) => said("data", body),
        What::Warning(body) => said("warning", body),
        What::AttemptEnded { attempt, started, reason, worker, again } => json!({
            "what": "attempt_ended",
            "attempt": attempt,
            "started_micros": started.as_micros(),
            "reason": reason.name(),
            "worker": self::worker(worker),
            "again_micros": again.map(Timestamp::as_micros),
        }),
        What::Held => json!({"what": "held"}),
        What::Released => json!({"what": "released"}),
        What::Priority(priority) => json!({"what": "priority", "priority": match priority {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }}),
        What::Retried => json!({"what": "retried"}),
        What::Run => json!({"what": "run"}),
        What::Cancelling => json!({"what": "cancelling"}),
        What::Ended(outcome) => match outcome {
            Outcome::Succeeded => json!({"what": "succeeded"}),
            Outcome::Cancelled => json!({"what": "cancelled"}),
            Outcome::Failed(reason) => json!({"what": "failed", "reason": reason.name()}),
        },
        What::Dropped => json!({"what": "dropped"}),
        What::Retired(why) => json!({"what": "retired", "reason": why.name()}),
    };
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// `None` is written as null, and not told.
fn worker(worker: &Worker) -> Option<Value> {
    let is_known = worker.conn != 0;
    is_known.then(|| json!({"id": worker.conn, "address": worker.address, "client_id": worker.client_id}))
}

/// The end of what a worker said; as text if it is such, but for a character that was cut in two.
fn said(word: &str, body: &[u8]) -> Value {
    let is_inside = |byte: &&u8| **byte & 0xc0 == 0x80;
    let cut = if body.len() < SAID { 0 } else { body.iter().take(3).take_while(is_inside).count() };
    match std::str::from_utf8(&body[cut..]) {
        Ok(text) => json!({"what": word, "data": text}),
        Err(_) => json!({"what": word, "data_base64": BASE64_STANDARD.encode(body)}),
    }
}
