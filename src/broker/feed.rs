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
