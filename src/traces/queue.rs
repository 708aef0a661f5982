//! What waits to be made spans of, bounded in bytes; and the count of what became of it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::{Life, Note, Outcome, What};
use crate::trace_context::TraceContext;

/// Bytes that may wait; what comes then is left out.
const MOST: usize = 16 << 20;

/// How long notes gather, unless there are many: a request costs more than a span.
const GATHER: Duration = Duration::from_secs(1);

/// Bytes that are reckoned for a worker's address and name.
const WORKER: usize = 128;

/// So many need not gather any longer.
const MANY: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something came, or it was closed.
    came: Condvar,
    /// All was seen to, after it was closed.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    notes: Vec<Note>,
    bytes: usize,
    is_closing: bool,
    has_ended: bool,
    /// It was said that spans are left out, and none was sent since.
    is_told: bool,
    facts: Facts,
}

/// How sending traces goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The collector does not take what it is sent.
    pub is_failing: bool,
    /// Spans that it took.
    pub sent: u64,
    /// Spans that were left out.
    pub dropped: u64,
}

impl Queue {
    /// Takes a note, or leaves it out if too much waits.
    pub fn push(&self, note: Note) {
        let (size, spans) = (size_of_note(&note), spans_of(&note));
        let mut state = self.lock();
        if state.bytes + size > MOST {
            let must_tell = !std::mem::replace(&mut state.is_told, true);
            state.facts.dropped += spans;
            drop(state);
            if must_tell {
                tracing::warn!("traces cannot be sent as fast as they come: spans are left out");
            }
            return;
        }
        state.bytes += size;
        state.notes.push(note);
        let is_awaited = matches!(state.notes.len(), 1 | MANY);
        drop(state);
        if is_awaited {
            self.came.notify_one();
        }
    }

    /// All that has gathered, once something has; `None` when it was closed and is empty.
    pub fn take(&self) -> Option<Vec<Note>> {
        let is_idle = |state: &mut State| state.notes.is_empty() && !state.is_closing;
        let state = self.came.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let may_gather = |state: &mut State| state.notes.len() < MANY && !state.is_closing;
        let gathered = self.came.wait_timeout_while(state, GATHER, may_gather);
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        state.bytes = 0;
        let notes = std::mem::take(&mut state.notes);
        (!notes.is_empty()).then_some(notes)
    }

    /// Waits before something is tried again; whether it may be after that, too.
    pub fn rest(&self, time: Duration) -> bool {
        let may_rest = |state: &mut State| !state.is_closing;
        let state = self.lock();
        if state.is_closing {
            return false;
        }
        drop(self.came.wait_timeout_while(state, time, may_rest));
        true
    }

    /// The collector took so many spans. Returns how things stood before.
    pub fn note_sent(&self, spans: u64) -> Facts {
        let mut state = self.lock();
        let before = state.facts;
        state.facts.sent += spans;
        state.is_told = false;
        state.facts.is_failing = false;
        before
    }

    /// So many spans are left out.
    pub fn note_dropped(&self, spans: u64) {
        self.lock().facts.dropped += spans;
    }

    /// The collector does not take what it is sent; whether that is news.
    pub fn note_failing(&self) -> bool {
        !std::mem::replace(&mut self.lock().facts.is_failing, true)
    }

    pub fn facts(&self) -> Facts {
        self.lock().facts
    }

    /// Nothing comes any more. Waits until all is seen to, but no longer than this. Returns how many spans were left out
    /// meanwhile; `None`: it took too long.
    pub fn close(&self, limit: Duration) -> Option<u64> {
        let mut state = self.lock();
        let before = state.facts.dropped;
        state.is_closing = true;
        self.came.notify_all();
        let ended = self.ended.wait_timeout_while(state, limit, |state| !state.has_ended);
        let state = ended.unwrap_or_else(PoisonError::into_inner).0;
        state.has_ended.then(|| state.facts.dropped - before)
    }

    /// All was seen to.
    pub fn end(&self) {
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many spans as are made of it.
fn spans_of(note: &Note) -> u64 {
    match &note.life {
        Some(life) if life.trace.as_ref().is_some_and(|trace| !trace.is_sampled()) => 0,
        Some(life) => {
            1 + u64::from(life.run.is_some() && !matches!(note.what, What::Ended(Outcome::Failed(_))))
        }
        // The end of an attempt.
        None => 1,
    }
}

fn size_of_note(note: &Note) -> usize {
    let life = note.life.as_ref().map_or(0, |life| {
        let trace = life.trace.as_ref().map_or(0, |trace| size_of::<TraceContext>() + trace.state().len());
        size_of::<Life>() + life.unique.len() + trace
    });
    // Names of functions are shared; what a worker says of itself is not.
    size_of::<Note>() + note.function.len() + life + WORKER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Reach, Worker};
    use crate::types::{JobId, Priority, Timestamp};

    fn ended() -> Note {
        let life = Life {
            unique: vec![b'u'; 1000].into(),
            priority: Priority::Normal,
            submitted: Timestamp::from_secs(1),
            attempts: 1,
            run: Some((Timestamp::from_secs(2), Worker::default())),
            trace: None,
        };
        Note {
            serial: 0,
            reach: Reach::All,
            at: Timestamp::from_secs(3),
            job: JobId(1),
            function: "f".into(),
            kept: true,
            what: What::Ended(Outcome::Succeeded),
            life: Some(Box::new(life)),
        }
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_left_out_is_counted() {
        let queue = Queue::default();
        let many = MOST / size_of_note(&ended());
        for _ in 0..many + 3 {
            queue.push(ended());
        }
        assert_eq!(queue.facts().dropped, 2 * 3, "a job and its attempt are two spans");
        assert_eq!(queue.take().map(|notes| notes.len()), Some(many));
        queue.push(ended());
        assert_eq!(queue.facts().dropped, 2 * 3, "there is room again");
    }

    #[test]
    fn after_it_was_closed_nothing_is_waited_for() {
        let queue = Queue::default();
        queue.push(ended());
        assert_eq!(queue.close(Duration::ZERO), None, "something is left");
        assert!(!queue.rest(Duration::from_secs(3600)));
        assert_eq!(queue.take().map(|notes| notes.len()), Some(1));
        queue.note_dropped(0);
        assert_eq!(queue.take(), None);
        queue.end();
        assert_eq!(queue.close(Duration::from_secs(3600)), Some(0));
    }
}
