//! The thread that sends. What a collector cannot take now is sent again, ever less often; what comes meanwhile waits in
//! the queue, so far as it fits.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::header;

use super::otlp;
use super::queue::Queue;
use super::spans::{Gatherer, Span};

/// Spans in one request.
const BATCH: usize = 512;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Wait before a request is sent again; it doubles each time.
const WAIT: Duration = Duration::from_secs(1);

/// Longest such wait, whatever the collector asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are read.
const ANSWER: u64 = 64 << 10;

pub(super) struct Exporter {
    queue: Arc<Queue>,
    agent: Agent,
    url: String,
    version: String,
    gatherer: Gatherer,
    /// The server ends, and the collector does not take anything: no more is tried.
    has_given_up: bool,
}

/// Why spans were not taken.
enum Refusal {
    /// They may be taken later, the collector may say when.
    ForNow { why: String, wait: Option<Duration> },
    /// They never will be.
    ForGood(String),
}

impl Exporter {
    pub fn new(queue: Arc<Queue>, url: &str, version: &str, handle_prefix: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // The environment's proxy is for the world outside; a collector is near.
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("gearhouse/", env!("CARGO_PKG_VERSION")));
        Self {
            queue,
            agent: config.build().new_agent(),
            url: url.to_owned(),
            version: version.to_owned(),
            gatherer: Gatherer::new(handle_prefix),
            has_given_up: false,
        }
    }

    pub fn run(mut self) {
        while let Some(notes) = self.queue.take() {
            let spans = self.gatherer.add(notes);
            self.queue.note_dropped(self.gatherer.take_dropped());
            for batch in spans.chunks(BATCH) {
                self.send(batch);
            }
        }
        self.queue.end();
    }

    fn send(&mut self, spans: &[Span]) {
        let count = spans.len() as u64;
        if self.has_given_up {
            return self.queue.note_dropped(count);
        }
        let body = otlp::encode(spans, &self.version);
        let mut next = WAIT;
        loop {
            match self.post(&body) {
                Ok(refused) => return self.note_taken(count, refused.min(count)),
                Err(Refusal::ForGood(why)) => {
                    self.note_failing(&why, "What it does not take is left out");
                    return self.queue.note_dropped(count);
                }
                Err(Refusal::ForNow { why, wait }) => {
                    self.note_failing(&why, "They wait, so far as they fit");
                    let wait = wait.map_or(next, |asked| asked.max(next)).min(LONGEST_WAIT);
                    if !self.queue.rest(wait) {
                        self.has_given_up = true;
                        return self.queue.note_dropped(count);
                    }
                    next = (next * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Sends once. Returns how many spans the collector says it cannot use.
    fn post(&self, body: &[u8]) -> Result<u64, Refusal> {
        let sent = self.agent.post(&self.url).header(header::CONTENT_TYPE, "application/json").send(body);
        let answer = sent.map_err(|error| Refusal::ForNow { why: error.to_string(), wait: None })?;
        let status = answer.status();
        let wait =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut text = Vec::new();
        // What cannot be read of an answer says nothing.
        let _ = answer.into_body().into_reader().take(ANSWER).read_to_end(&mut text);
        match status.as_u16() {
            200..=299 => Ok(rejected(&text)),
            429 | 502 | 503 | 504 => {
                let wait = wait.map(Duration::from_secs);
                Err(Refusal::ForNow { why: format!("it answered {status}"), wait })
            }
            _ => Err(Refusal::ForGood(format!("it answered {status}"))),
        }
    }

    fn note_taken(&self, count: u64, refused: u64) {
        let before = self.queue.note_sent(count - refused);
        self.queue.note_dropped(refused);
        if refused > 0 {
            tracing::warn!("the collector at {} refused {refused} of {count} spans", self.url);
        }
        if before.is_failing {
            tracing::info!("traces are sent again; {} spans were left out so far", before.dropped);
        }
    }

    fn note_failing(&self, why: &str, consequence: &str) {
        if self.queue.note_failing() {
            tracing::warn!("traces cannot be sent to {}: {why}. {consequence}", self.url);
        }
    }
}

/// The spans that the answer says were rejected. A number of 64 bits is a string in OTLP's JSON; not every collector knows.
fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0)
}
