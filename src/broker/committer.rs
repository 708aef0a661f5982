//! The store's thread, taken apart into steps: gather what was pushed, make it safe, tell who waited for that.
//!
//! The thread takes one step after the other; the simulation takes them one at a time, and lets things happen between.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::log::{Batch, Log};
use crate::clock::Stopwatch;
use crate::store::{Store, StoreError};

/// How often a full disk is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Owns the store, and makes safe what is pushed into the log.
pub struct Committer {
    log: Arc<Log>,
    store: Box<dyn Store>,
    /// What is under way, if anything.
    batch: Option<Batch>,
    /// That batch is safe, and this was not told yet.
    is_safe: bool,
    /// The store may have housekeeping to do.
    is_untidy: bool,
    /// Batches since housekeeping was last begun, or enough of them: nothing came for a while.
    since_tidied: u32,
}

/// Batches between two beginnings of housekeeping under a steady trickle: each costs syncs of its own.
const SELDOM: u32 = 64;

/// When to take the next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// At once.
    Now,
    /// When something was pushed, or the log was closed.
    Pushed,
    /// When something was pushed, or after a while: the disk is full, or there is housekeeping to do.
    Later,
    /// Never: the log was closed and all of it is safe, or the store failed.
    End,
}

impl Committer {
    pub(super) fn new(log: Arc<Log>, store: Box<dyn Store>) -> Self {
        Self { log, store, batch: None, is_safe: false, is_untidy: true, since_tidied: 0 }
    }

    pub(super) fn start(mut self) -> Result<JoinHandle<()>, StoreError> {
        // Here and not in the thread: before anyone can submit.
        if !self.store.refill_reserve() {
            self.log.note_full("there is no room on the disk: background jobs are refused until there is");
        }
        let started = thread::Builder::new().name("store".into()).spawn(move || self.run());
        started.map_err(|source| StoreError::Io { path: "the store's thread".into(), source })
    }

    fn run(mut self) {
        loop {
            match self.step() {
                Next::Now => {}
                Next::Pushed => self.log.wait_for_records(),
                // A batch that finds no room is tried again whatever else is pushed.
                Next::Later if self.batch.is_some() => thread::sleep(TRY_AGAIN),
                Next::Later => self.log.wait_for_records_until(TRY_AGAIN),
                Next::End => return,
            }
        }
    }

    /// Does one thing; it may block as long as the store does. Not to be called again after [`Next::End`].
    pub fn step(&mut self) -> Next {
        self.try_step().unwrap_or_else(|error| {
            self.log.fail(&error);
            Next::End
        })
    }

    fn try_step(&mut self) -> Result<Next, StoreError> {
        match self.batch.take() {
            Some(batch) if self.is_safe => {
                self.log.publish(&batch);
                (self.is_safe, self.is_untidy) = (false, true);
                self.since_tidied = self.since_tidied.saturating_add(1).min(SELDOM);
                Ok(Next::Now)
            }
            Some(batch) => self.append(batch),
            None => {
                self.batch = self.log.gathered();
                if self.batch.is_some() { Ok(Next::Now) } else { self.idle() }
            }
        }
    }

    /// Makes a batch safe, however long the disk stays full, unless the server ends meanwhile.
    fn append(&mut self, batch: Batch) -> Result<Next, StoreError> {
        let watch = Stopwatch::start();
        let appended = self.store.append(&batch.records);
        self.log.note_sync(watch.elapsed());
        let next = match appended {
            Ok(()) => {
                self.is_safe = true;
                Next::Now
            }
            Err(error @ StoreError::Full { .. }) => {
                self.log.note_full(&error);
                let has_reserve = self.store.use_reserve();
                if !has_reserve && self.log.is_closing() {
                    return Err(error);
                }
                if has_reserve { Next::Now } else { Next::Later }
            }
            Err(error) => return Err(error),
        };
        self.batch = Some(batch);
        Ok(next)
    }

    fn idle(&mut self) -> Result<Next, StoreError> {
        if self.log.is_closing() {
            // What was pushed before the end was told is gathered by the next step.
            return Ok(if self.log.is_empty() { Next::End } else { Next::Now });
        }
        if self.log.is_full() {
            // What ended meanwhile gives its space back by this only, and that may be all there is to have.
            if self.is_untidy && self.tidy()? {
                return Ok(Next::Now);
            }
            if !self.store.refill_reserve() {
                return Ok(Next::Later);
            }
            self.log.note_room();
            return Ok(Next::Now);
        }
        if self.is_untidy && self.since_tidied < SELDOM {
            self.since_tidied = SELDOM;
            return Ok(Next::Later);
        }
        if self.is_untidy {
            if !self.tidy()? {
                self.since_tidied = 0;
            }
            return Ok(Next::Now);
        }
        Ok(Next::Pushed)
    }

    /// Does a piece of housekeeping. Whether there is more; with no room for it there is none until something ends.
    fn tidy(&mut self) -> Result<bool, StoreError> {
        self.is_untidy = match self.store.tidy() {
            Err(StoreError::Full { .. }) => false,
            tidied => tidied?,
        };
        Ok(self.is_untidy)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::broker::{Broker, Sinks};
    use crate::engine::{Record, Seed, Settings};
    use crate::protocol::{Frame, Kind, Request};
    use crate::store::Reader;
    use crate::store::memory::MemoryStore;
    use crate::types::{JobId, Timestamp};

    /// Has room for two jobs, and a third in its reserve; what ends gives its room back when it is tidied up.
    struct Tight {
        room: usize,
        ended: usize,
        has_reserve: bool,
    }

    impl Store for Tight {
        fn replay(&mut self, _: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError> {
            Ok(JobId(1))
        }

        fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
            let made = batch.iter().filter(|record| matches!(record, Record::Queued { .. })).count();
            let left = self.room.checked_sub(made).ok_or(StoreError::Full { path: "tight".into() })?;
            self.room = left;
            self.ended += batch.iter().filter(|record| matches!(record, Record::Done(_))).count();
            Ok(())
        }

        fn use_reserve(&mut self) -> bool {
            self.room += usize::from(self.has_reserve);
            std::mem::take(&mut self.has_reserve)
        }

        fn refill_reserve(&mut self) -> bool {
            let has_room = self.room > 0 && !self.has_reserve;
            self.room -= usize::from(has_room);
            self.has_reserve |= has_room;
            self.has_reserve
        }

        fn tidy(&mut self) -> Result<bool, StoreError> {
            let is_any = self.ended > 0;
            self.ended -= usize::from(is_any);
            self.room += usize::from(is_any);
            Ok(is_any)
        }

        fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
            MemoryStore::default().reader()
        }
    }

    #[test]
    fn a_disk_that_is_full_of_jobs_has_room_when_they_have_ended() {
        let seed = Seed { first_job: JobId(1), hash: 1 };
        let settings = Settings { handle_prefix: "H".into(), ..Settings::default() };
        let store = Box::new(Tight { room: 2, ended: 0, has_reserve: true });
        let now = Timestamp::from_secs(1);
        let read = AtomicU64::new(0);
        let (broker, mut committer, _) =
            Broker::open_driven(now, settings, seed, 1 << 20, store, &read, Sinks::default()).unwrap();
        let (conn, outbox) = broker.open(Ipv4Addr::LOCALHOST.into());
        let say = |kind, arguments: &[&[u8]]| {
            let request = Request::parse(Frame::request(kind, arguments));
            broker.apply(now, conn, &outbox, &mut vec![request]);
        };
        let mut work = || {
            for _ in 0..20 {
                committer.step();
            }
        };
        for _ in 0..3 {
            say(Kind::SubmitJobBg, &[b"f", b"", b"x"]);
            work();
        }
        assert!(broker.readiness().is_err(), "the third took the reserve");
        say(Kind::CanDo, &[b"f"]);
        say(Kind::GrabJob, &[]);
        work();
        assert!(broker.readiness().is_err(), "nothing has ended");
        say(Kind::WorkComplete, &[b"H:1", b""]);
        work();
        assert!(broker.readiness().is_ok());
    }
}
