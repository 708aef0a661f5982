//! What happened to jobs, for those who watch, for the jobs' logs, and for traces. Nobody is waited for: a watcher that is
//! too slow is told that it missed some.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

use crate::engine::{Deed, Note, Reach, Reason, What, Worker};
use crate::protocol::Handle;

/// Notes that a watcher may be behind.
const BEHIND: usize = 4096;

/// Takes notes. Never waits.
pub type Sink = Box<dyn Fn(Note) + Send + Sync>;

/// Who takes notes for as long as the server runs.
#[derive(Default)]
pub struct Sinks {
    /// For jobs' logs: what a job's own fields do not tell.
    pub log: Option<Sink>,
    /// For the audit: what text commands changed.
    pub audit: Option<Box<dyn Fn(Deed) + Send + Sync>>,
    /// For traces: ends of jobs and of attempts. Counts as someone who watches.
    pub traces: Option<Sink>,
}

/// Where notes go.
pub(super) struct Feed {
    live: broadcast::Sender<Note>,
    watchers: AtomicUsize,
    sinks: OnceLock<Sinks>,
    /// What stands before the number in every handle.
    handle_prefix: String,
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
    pub fn new(handle_prefix: &str) -> Self {
        let (live, _) = broadcast::channel(BEHIND);
        let handle_prefix = handle_prefix.to_owned();
        Self { live, watchers: AtomicUsize::new(0), sinks: OnceLock::new(), handle_prefix }
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

    /// From now on these are told. Only the first ones count.
    pub fn tell(&self, sinks: Sinks) {
        let watches = usize::from(sinks.traces.is_some());
        if self.sinks.set(sinks).is_ok() {
            self.watchers.fetch_add(watches, Ordering::Relaxed);
        }
    }

    pub fn publish(&self, notes: Vec<Note>) {
        let sinks = self.sinks.get();
        let (log, traces) =
            (sinks.and_then(|sinks| sinks.log.as_ref()), sinks.and_then(|sinks| sinks.traces.as_ref()));
        for note in notes {
            self.say_silent(&note);
            // First of all: who hears of it may look it up.
            if note.reach != Reach::Watchers
                && let Some(log) = log
            {
                log(note.clone());
            }
            if note.reach == Reach::Log {
                continue;
            }
            let is_end = matches!(note.what, What::AttemptEnded { .. } | What::Ended(_) | What::Dropped);
            if is_end && let Some(traces) = traces {
                traces(note.clone());
            }
            if self.live.receiver_count() > 0 {
                // No one may be left by now.
                let _ = self.live.send(note);
            }
        }
    }

    pub fn audit(&self, deeds: Vec<Deed>) {
        if let Some(audit) = self.sinks.get().and_then(|sinks| sinks.audit.as_ref()) {
            deeds.into_iter().for_each(audit);
        }
    }

    /// An operator who looks at the server's log learns which worker to look at.
    fn say_silent(&self, note: &Note) {
        if let What::AttemptEnded { reason: Reason::LeaseExpired, worker, .. } = &note.what {
            let Worker { conn, address, client_id } = worker;
            let handle = Handle { prefix: &self.handle_prefix, id: note.job };
            tracing::warn!(
                "worker {conn} at {address} ({client_id:?}) said nothing of {handle} within its lease: it is taken back"
            );
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
        let sinks = {
            let told = told.clone();
            Sinks { log: Some(Box::new(move |note| told.lock().unwrap().push(note))), ..Sinks::default() }
        };
        let (now, seed) = (Timestamp::from_secs(9), Seed { first_job: JobId(1), hash: 1 });
        let read = AtomicU64::new(0);
        Broker::open_driven(now, Settings::default(), seed, 1 << 20, Box::new(store), &read, sinks).unwrap();
        let told = told.lock().unwrap();
        let [
            Note { at, what: What::Started { attempt: 1, .. }, reach: Reach::Log, .. },
            Note { what: What::AttemptEnded { attempt, started, reason, .. }, .. },
        ] = told.as_slice()
        else {
            panic!("{told:?} is one attempt that began and ended");
        };
        assert_eq!(*at, began);
        assert_eq!((*attempt, *started, *reason), (1, began, Reason::Lost));
    }
}
