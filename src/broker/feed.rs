//! What happened to jobs, for those who watch and for the jobs' logs. Nobody is waited for: a watcher that is too slow
//! is told that it missed some.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

use crate::engine::{Note, Outcome, What};

/// Notes that a watcher may be behind.
const BEHIND: usize = 4096;

/// Takes notes for jobs' logs. Never waits.
pub type Log = Box<dyn Fn(Note) + Send + Sync>;

/// Where notes go.
pub(super) struct Feed {
    live: broadcast::Sender<Note>,
    watchers: AtomicUsize,
    log: OnceLock<Log>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("watchers", &self.watchers).finish_non_exhaustive()
    }
}

/// One who watches, until dropped.
#[derive(Debug)]
pub struct Watch {
    feed: Arc<Feed>,
    notes: broadcast::Receiver<Note>,
}

impl Feed {
    pub fn new() -> Self {
        let (live, _) = broadcast::channel(BEHIND);
        Self { live, watchers: AtomicUsize::new(0), log: OnceLock::new() }
    }

    /// Whether someone wants to know of all that happens.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    pub fn watch(self: &Arc<Self>) -> Watch {
        let notes = self.live.subscribe();
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watch { feed: self.clone(), notes }
    }

    /// From now on jobs' logs are written from here. Only the first one counts.
    pub fn log_to(&self, log: Log) {
        let _ = self.log.set(log);
    }

    pub fn publish(&self, notes: Vec<Note>) {
        for note in notes {
            // What a job's own fields tell is for those who watch only.
            let is_plain = matches!(
                note.what,
                What::Submitted | What::Started { .. } | What::Progress(_) | What::Ended(Outcome::Succeeded)
            );
            // First of all: who hears of it may look it up.
            if !is_plain && let Some(log) = self.log.get() {
                log(note.clone());
            }
            if self.is_watched() {
                // No one may be left by now.
                let _ = self.live.send(note);
            }
        }
    }
}

impl Watch {
    /// The next note, or how many were missed before it. `None`: the server ends.
    pub async fn next(&mut self) -> Option<Result<Note, u64>> {
        match self.notes.recv().await {
            Ok(note) => Some(Ok(note)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.feed.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::*;
    use crate::broker::Broker;
    use crate::engine::{Phase, Reason, Record, Seed, Settings, Standing};
    use crate::protocol::{Kind, Spec};
    use crate::store::Store as _;
    use crate::store::memory::MemoryStore;
    use crate::types::{JobId, Priority, Timestamp};

    #[test]
    fn the_log_is_told_which_attempts_the_last_process_took_along() {
        let (spec, _) = Spec::parse(Kind::SubmitJobBg, Bytes::from_static(b"f\0\0x")).unwrap();
        let began = Timestamp::from_secs(5);
        let queued = Standing::new(JobId(1), Priority::Normal, None, began);
        let standing = Standing {
            phase: Phase::Running,
            attempts: 1,
            first_start: Some(began),
            last_start: Some(began),
            ..queued
        };
        let mut store = MemoryStore::default();
        store
            .append(&[Record::Queued { id: JobId(1), standing, spec: Cow::Owned(spec), terms: None }])
            .unwrap();

        let told: Arc<Mutex<Vec<Note>>> = Arc::default();
        let log = {
            let told = told.clone();
            Box::new(move |note| told.lock().unwrap().push(note))
        };
        let (now, seed) = (Timestamp::from_secs(9), Seed { first_job: JobId(1), hash: 1 });
        let read = AtomicU64::new(0);
        Broker::open_driven(now, Settings::default(), seed, 1 << 20, Box::new(store), &read, Some(log))
            .unwrap();
        let told = told.lock().unwrap();
        let [Note { what: What::AttemptEnded { attempt, started, reason, .. }, .. }] = told.as_slice() else {
            panic!("{told:?} is one attempt that ended");
        };
        assert_eq!((*attempt, *started, *reason), (1, began, Reason::Lost));
    }
}
