//! What the engine tells of a job, as entries of its log and as events: a word for what happened, and its fields as JSON.

use serde_json::{Map, Value, json};

use super::Entry;
use crate::engine::{Note, Outcome, What, Worker};
use crate::types::{Priority, Timestamp};

/// The kind of entries that are JSON.
const JSON: u8 = 1;

impl From<Note> for Entry {
    fn from(note: Note) -> Self {
        let data = serde_json::to_vec(&fields(&note.what)).unwrap_or_default();
        Entry { job: note.job, serial: note.at.as_micros(), kind: JSON, data }
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
        What::Started { attempt, worker } => {
            json!({"what": "started", "attempt": attempt, "worker": self::worker(worker)})
        }
        What::Progress(numbers) => json!({
            "what": "progress", "numerator": numbers.numerator, "denominator": numbers.denominator
        }),
        What::Data(body) => json!({"what": "data", "data": String::from_utf8_lossy(body)}),
        What::Warning(body) => json!({"what": "warning", "data": String::from_utf8_lossy(body)}),
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
        What::Cancelling => json!({"what": "cancelling"}),
        What::Ended(outcome) => match outcome {
            Outcome::Succeeded => json!({"what": "succeeded"}),
            Outcome::Cancelled => json!({"what": "cancelled"}),
            Outcome::Failed(reason) => json!({"what": "failed", "reason": reason.name()}),
        },
        What::Dropped => json!({"what": "dropped"}),
        What::Retired => json!({"what": "retired"}),
    };
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn worker(worker: &Worker) -> Value {
    json!({"id": worker.conn, "address": worker.address, "client_id": worker.client_id})
}
