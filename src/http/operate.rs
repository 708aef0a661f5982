//! What a request that changes something needs: who asks, the queues, and the book in which it is noted.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::access::{Caller, Operator};
use super::body;
use super::problem::{Kind, Problem};
use super::shared::Shared;
use crate::broker::Broker;
use crate::history::Audit;
use crate::protocol::Refusal;
use crate::types::{RecordNo, Timestamp};

/// Most bytes that the audit has of what was said: a schedule may have a large payload.
const MOST_SAID: usize = 2000;

/// An operator at work.
pub(super) struct Desk {
    pub caller: Caller,
    pub broker: Arc<Broker>,
    pub shared: Arc<Shared>,
}

impl FromRequestParts<Arc<Shared>> for Desk {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let Operator(caller) = Operator::from_request_parts(parts, shared).await?;
        Ok(Self { caller, broker: shared.broker()?.clone(), shared: shared.clone() })
    }
}

impl Desk {
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Refuses what is none of the caller's business: a function, or a pattern that stands for others too.
    pub fn must_see(&self, function: &[u8]) -> Result<(), Problem> {
        if self.caller.sees(function) {
            return Ok(());
        }
        Err(Problem::new(Kind::NOT_ALLOWED, "The token is not good for this function"))
    }

    /// A body of one of these kinds that is a JSON object.
    pub async fn read(
        &self,
        kinds: &[&str],
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Map<String, Value>, Problem> {
        let received = self.shared.bodies.read(headers, body).await?;
        body::must_be(kinds, headers)?;
        match serde_json::from_slice(&received.bytes) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Err(Problem::new(Kind::INVALID, "The body must be an object")),
            Err(error) => Err(Problem::new(Kind::UNREADABLE, error.to_string())),
        }
    }

    /// Notes what was done, or why it was not; and returns when it is safe. Noted first, since the caller may go while it is
    /// waited for.
    pub async fn done<T>(
        &self,
        action: &str,
        target: &[u8],
        done: (Result<T, Refusal>, RecordNo),
    ) -> Result<T, Problem> {
        self.done_as("done", action, target, done).await
    }

    /// The same, with what is noted if it was done.
    pub async fn done_as<T>(
        &self,
        outcome: &str,
        action: &str,
        target: &[u8],
        (done, record): (Result<T, Refusal>, RecordNo),
    ) -> Result<T, Problem> {
        self.note(action, target, done.as_ref().map_or_else(|refusal| refusal.text.as_ref(), |_| outcome));
        let done = done?;
        self.safe(action, target, record).await?;
        Ok(done)
    }

    /// Returns when it is safe; notes if it is not.
    pub async fn safe(&self, action: &str, target: &[u8], record: RecordNo) -> Result<(), Problem> {
        let safe = self.broker.safe(record).await;
        if let Err(refusal) = &safe {
            self.note(action, target, &refusal.text);
        }
        self.shared.written().await;
        Ok(safe?)
    }

    /// Notes what an operator did.
    pub fn note(&self, action: &str, target: &[u8], outcome: &str) {
        if let Ok(opened) = self.shared.opened()
            && let Some(history) = &opened.history
        {
            history.audit(Audit {
                serial: 0,
                time: self.now(),
                who: self.caller.key.to_string(),
                action: action.to_owned(),
                target: String::from_utf8_lossy(target).into_owned(),
                outcome: outcome.to_owned(),
            });
        }
    }
}

/// What is noted of a change: these fields were said.
pub(super) fn to_outcome(said: &Map<String, Value>) -> String {
    let mut text = serde_json::to_string(said).unwrap_or_default();
    if text.len() > MOST_SAID {
        text.truncate(text.floor_char_boundary(MOST_SAID));
        text.push('…');
    }
    format!("done: {text}")
}
