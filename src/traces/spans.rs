//! From what the engine says to spans: attempts wait here for the end of their job.
//!
//! Names and attributes are those of OpenTelemetry's conventions for messaging, as far as they go; what they do not know is
//! under `gearhouse.`. Numbers of spans, and of traces that begin here, are drawn here: chance is not for the engine.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::engine::{Life, Note, Outcome, Reason, What, Worker};
use crate::types::{JobId, Printable, Timestamp};

/// Attempts of one job that are told; the last ones are.
const ATTEMPTS: usize = 128;

/// Attempts that may wait for the ends of their jobs, all together.
const HELD: usize = 10_000;

/// One span.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: Option<u64>,
    /// The parent is not one of ours.
    pub is_entry: bool,
    pub state: String,
    pub name: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<&'static str>,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

/// Makes them.
pub(super) struct Gatherer {
    handle_prefix: String,
    /// Attempts that came to nothing, of jobs that are not over. Whoever ended before is not found here.
    tried: BTreeMap<JobId, Vec<Attempt>>,
    held: usize,
    /// Attempts that were left out.
    dropped: u64,
}

struct Attempt {
    number: u32,
    started: Timestamp,
    ended: Timestamp,
    worker: Worker,
    reason: Option<Reason>,
}

impl Gatherer {
    pub fn new(handle_prefix: &str) -> Self {
        Self { handle_prefix: handle_prefix.to_owned(), tried: BTreeMap::new(), held: 0, dropped: 0 }
    }

    /// Attempts that were left out since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The spans that are whole now.
    pub fn add(&mut self, notes: Vec<Note>) -> Vec<Span> {
        let mut spans = Vec::with_capacity(notes.len() * 2);
        for Note { at, job, function, what, life, .. } in notes {
            match (what, life) {
                (What::AttemptEnded { attempt, started, reason, worker, .. }, _) => {
                    let number = attempt;
                    self.hold(job, Attempt { number, started, ended: at, worker, reason: Some(reason) });
                }
                (What::Ended(outcome), Some(life)) => {
                    self.end(job, &function, at, Some(outcome), *life, &mut spans);
                }
                (What::Dropped, Some(life)) => self.end(job, &function, at, None, *life, &mut spans),
                _ => {}
            }
        }
        spans
    }

    fn hold(&mut self, job: JobId, attempt: Attempt) {
        let attempts = self.tried.entry(job).or_default();
        if attempts.len() == ATTEMPTS {
            attempts.remove(0);
            (self.held, self.dropped) = (self.held - 1, self.dropped + 1);
        }
        attempts.push(attempt);
        self.held += 1;
        // The oldest job goes: one that nobody will end is among the oldest some day.
        while self.held > HELD
            && let Some((_, attempts)) = self.tried.pop_first()
        {
            self.held -= attempts.len();
            self.dropped += attempts.len() as u64;
        }
    }

    /// A job is over. `outcome`: `None` if no one waited for it any more.
    fn end(
        &mut self,
        job: JobId,
        function: &[u8],
        at: Timestamp,
        outcome: Option<Outcome>,
        life: Life,
        spans: &mut Vec<Span>,
    ) {
        let mut attempts = self.tried.remove(&job).unwrap_or_default();
        self.held -= attempts.len();
        if life.trace.as_ref().is_some_and(|trace| !trace.is_sampled()) {
            return;
        }
        // How a worker's attempt failed was told before; that it did not fail is told with the job's end only.
        if let Some((started, worker)) = life.run
            && attempts.last().is_none_or(|last| last.number != life.attempts)
        {
            attempts.push(Attempt { number: life.attempts, started, ended: at, worker, reason: None });
        }
        let function = Printable(function).to_string();
        let common = [
            ("messaging.system", text("gearman")),
            ("messaging.destination.name", text(function.clone())),
            ("messaging.message.id", text(format!("{}:{}", self.handle_prefix, job.0))),
        ];
        let first = attempts.first().map_or(at, |first| first.started);
        let (id, reason) = (random(), outcome.and_then(reason_of));
        let state = life.trace.as_ref().map_or_else(String::new, |trace| trace.state().to_owned());
        let trace = life.trace.as_ref().map_or_else(random_trace, |trace| trace.trace());
        let mut attributes = common.to_vec();
        attributes.extend([
            ("messaging.operation.name", text("job")),
            ("gearhouse.outcome", text(outcome.map_or("dropped", word_of))),
            ("gearhouse.priority", text(life.priority.name())),
            ("gearhouse.attempts", Value::Number(life.attempts.into())),
        ]);
        if !life.unique.is_empty() {
            attributes.push(("gearhouse.unique", text(Printable(&life.unique).to_string())));
        }
        attributes.extend(error_type(reason));
        spans.push(Span {
            trace,
            id,
            parent: life.trace.as_ref().map(|trace| trace.span()),
            is_entry: life.trace.is_some(),
            state: state.clone(),
            name: format!("job {function}"),
            start: Some(life.submitted).filter(|at| *at != Timestamp::default()).unwrap_or(first),
            end: at,
            attributes,
            error: reason.map(Reason::name),
        });
        spans.extend(attempts.into_iter().map(|attempt| {
            let mut attributes = common.to_vec();
            attributes.extend([
                ("messaging.operation.name", text("process")),
                ("messaging.operation.type", text("process")),
                ("gearhouse.attempt", Value::Number(attempt.number.into())),
            ]);
            let Worker { address, client_id, .. } = attempt.worker;
            let of_worker = [("network.peer.address", address), ("messaging.client.id", client_id)];
            attributes.extend(
                of_worker
                    .into_iter()
                    .filter(|(_, said)| !said.is_empty())
                    .map(|(key, said)| (key, text(said))),
            );
            attributes.extend(error_type(attempt.reason));
            Span {
                trace,
                id: random(),
                parent: Some(id),
                is_entry: false,
                state: state.clone(),
                name: format!("process {function}"),
                start: attempt.started,
                end: attempt.ended,
                attributes,
                error: attempt.reason.map(Reason::name),
            }
        }));
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn error_type(reason: Option<Reason>) -> Option<(&'static str, Value)> {
    reason.map(|reason| ("error.type", text(reason.name())))
}

const fn reason_of(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Failed(reason) => Some(reason),
        Outcome::Succeeded | Outcome::Cancelled => None,
    }
}

const fn word_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

/// A number that is not zero. The standard library's seeds are good enough: these numbers are to differ, and keep no secret.
fn random() -> u64 {
    RandomState::new().hash_one(0).max(1)
}

fn random_trace() -> u128 {
    u128::from(random()) << 64 | u128::from(random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Reach;
    use crate::trace_context::TraceContext;
    use crate::types::Priority;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn note(job: u64, seconds: u64, what: What, life: Option<Life>) -> Note {
        let at = Timestamp::from_secs(seconds);
        Note {
            at,
            serial: at.as_micros(),
            reach: Reach::All,
            job: JobId(job),
            function: "mail".into(),
            kept: true,
            what,
            life: life.map(Box::new),
        }
    }

    fn life(attempts: u32, started: Option<u64>) -> Life {
        Life {
            unique: "u".into(),
            priority: Priority::High,
            submitted: Timestamp::from_secs(1),
            attempts,
            run: started.map(|started| (Timestamp::from_secs(started), worker())),
            trace: None,
        }
    }

    fn worker() -> Worker {
        Worker { conn: 7, address: "10.0.0.1".into(), client_id: String::new() }
    }

    fn lost(job: u64, attempt: u32, started: u64, ended: u64) -> Note {
        let started = Timestamp::from_secs(started);
        let (reason, again) = (Reason::Lost, None);
        note(job, ended, What::AttemptEnded { attempt, started, reason, worker: worker(), again }, None)
    }

    fn gatherer() -> Gatherer {
        Gatherer::new("H:host")
    }

    fn value<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
        span.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    #[test]
    fn a_job_has_a_span_and_each_of_its_attempts_one_under_it() {
        let mut gatherer = gatherer();
        assert_eq!(gatherer.add(vec![lost(5, 1, 2, 3)]), []);
        let spans = gatherer.add(vec![note(5, 9, What::Ended(Outcome::Succeeded), Some(life(2, Some(4))))]);
        let [job, first, second] = spans.as_slice() else { panic!("{spans:?}") };
        let times = |span: &Span| (span.start.as_secs(), span.end.as_secs());
        assert_eq!([job, first, second].map(times), [(1, 9), (2, 3), (4, 9)]);
        assert_eq!((job.parent, first.parent, second.parent), (None, Some(job.id), Some(job.id)));
        assert_eq!([job, first, second].map(|span| span.error), [None, Some("lost"), None]);
        assert!(first.trace == job.trace && second.trace == job.trace && job.trace != 0);
        assert_eq!(job.name, "job mail");
        assert_eq!(value(job, "messaging.message.id"), Some(&text("H:host:5")));
        assert_eq!(value(job, "gearhouse.unique"), Some(&text("u")));
        assert_eq!(value(job, "gearhouse.attempts"), Some(&Value::Number(2)));
        assert_eq!(value(first, "network.peer.address"), Some(&text("10.0.0.1")));
        assert_eq!(value(first, "error.type"), Some(&text("lost")));
        assert_eq!(gatherer.held, 0);
    }

    #[test]
    fn an_attempt_that_failed_with_its_job_is_told_once() {
        let failed = note(5, 3, What::Ended(Outcome::Failed(Reason::Lost)), Some(life(1, Some(2))));
        let spans = gatherer().add(vec![lost(5, 1, 2, 3), failed]);
        assert_eq!(spans.iter().map(|span| span.error).collect::<Vec<_>>(), [Some("lost"), Some("lost")]);
    }

    #[test]
    fn a_job_that_never_ran_and_one_that_no_one_waited_for_have_a_span() {
        let mut gatherer = gatherer();
        let expired = note(1, 3, What::Ended(Outcome::Failed(Reason::Expired)), Some(life(0, None)));
        let dropped = note(2, 3, What::Dropped, Some(life(0, None)));
        let spans = gatherer.add(vec![expired, dropped]);
        let [expired, dropped] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((expired.error, dropped.error), (Some("expired"), None));
        assert_eq!(value(dropped, "gearhouse.outcome"), Some(&text("dropped")));
    }

    #[test]
    fn a_trace_that_began_elsewhere_goes_on_unless_it_is_not_recorded() {
        let end = |parent: &str| {
            let trace = TraceContext::parse(parent, "vendor=x").map(Box::new);
            note(1, 3, What::Ended(Outcome::Succeeded), Some(Life { trace, ..life(1, Some(2)) }))
        };
        let mut gatherer = gatherer();
        let spans = gatherer.add(vec![end(PARENT)]);
        let [job, attempt] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!(job.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((job.parent, job.is_entry), (Some(0xb7ad_6b71_6920_3331), true));
        assert_eq!((attempt.trace, attempt.parent, attempt.is_entry), (job.trace, Some(job.id), false));
        assert_eq!((job.state.as_str(), attempt.state.as_str()), ("vendor=x", "vendor=x"));
        let unrecorded = PARENT.replace("-01", "-00");
        assert_eq!(gatherer.add(vec![lost(1, 1, 1, 2), end(&unrecorded)]), []);
        assert_eq!(gatherer.held, 0);
    }

    #[test]
    fn attempts_that_wait_are_bounded_and_the_oldest_are_left_out() {
        let mut gatherer = gatherer();
        for attempt in 1..=130 {
            gatherer.add(vec![lost(9, attempt, 1, 2)]);
        }
        assert_eq!((gatherer.held, gatherer.take_dropped()), (128, 2));
        for job in 0..10_000 {
            gatherer.add(vec![lost(100 + job, 1, 1, 2)]);
        }
        assert_eq!((gatherer.held, gatherer.take_dropped()), (10_000, 128));
        let ended = note(100, 3, What::Ended(Outcome::Failed(Reason::Lost)), Some(life(1, None)));
        assert_eq!(gatherer.add(vec![ended]).len(), 2);
    }
}
