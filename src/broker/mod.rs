//! The engine behind a short lock. Requests go in by the batch; what the engine emits is delivered into the
//! connections' outboxes under the lock, in the engine's order; connections are woken after it.
//!
//! Nothing here is async, so nothing can wait under the lock, and no input or output is done under it.

mod committer;
mod deliver;
mod directory;
mod feed;
mod log;
mod reading;
mod storage;
mod timer;
pub mod turn;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

pub use self::committer::{Committer, Next};
pub use self::feed::{Sink, Sinks, Watch};
pub use self::log::{StoreFacts, StoreState, Wait};
pub use self::reading::Reading;
pub use self::storage::Loader;
pub use self::timer::run_timer;

use bytes::Bytes;

use self::deliver::Delivery;
use self::directory::Directory;
use self::feed::Feed;
use self::storage::Storage;
use crate::engine::{
    Action, Did, Drain, Engine, Lister, Load, Output as _, Put, Seed, Settings, Undone, Undropped,
};
use crate::outbox::{End, Outbox};
use crate::policy::{Plan, Policy, Terms};
use crate::protocol::{Refusal, Request, Spec, Submit};
use crate::store::{Store, StoreError};
use crate::types::{ConnId, JobId, RecordNo, Timestamp};

/// Most requests that are applied under one lock: a connection with more to say lets others in between.
pub const BATCH: usize = 64;

/// Everything that connections share.
#[derive(Debug)]
pub struct Broker {
    engine: Mutex<Engine>,
    storage: Option<Storage>,
    directory: Directory,
    next_conn: AtomicU64,
    max_outbox: usize,
    /// The deadline that the timer sleeps for, in microseconds.
    armed: AtomicU64,
    rearm: Notify,
    shutdown: Mutex<Option<Drain>>,
    shutdown_asked: Notify,
    feed: Arc<Feed>,
}

impl Broker {
    /// An empty server that keeps nothing beyond the process. `max_outbox`: see [`Outbox::new`].
    pub fn new(settings: Settings, seed: Seed, max_outbox: usize) -> Self {
        Self::with(Engine::new(settings, seed), None, max_outbox)
    }

    /// A server with what a store kept, that keeps its background jobs in it. `read` counts what it has read so far; `sinks`
    /// take what happens to jobs from the beginning on: that their workers were lost with the last process, too.
    ///
    /// # Errors
    /// What is kept cannot be read, or a thread cannot be started.
    pub fn open_store(
        now: Timestamp,
        settings: Settings,
        seed: Seed,
        max_outbox: usize,
        store: Box<dyn Store>,
        read: &AtomicU64,
        sinks: Sinks,
    ) -> Result<Arc<Self>, StoreError> {
        let (broker, committer, loader) =
            Self::open_driven(now, settings, seed, max_outbox, store, read, sinks)?;
        let broker = Arc::new(broker);
        if let Some(storage) = &broker.storage {
            storage.start(committer)?;
        }
        loader.start(&broker)?;
        Ok(broker)
    }

    /// The same without threads: the caller takes their steps.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn open_driven(
        now: Timestamp,
        settings: Settings,
        seed: Seed,
        max_outbox: usize,
        mut store: Box<dyn Store>,
        read: &AtomicU64,
        sinks: Sinks,
    ) -> Result<(Self, Committer, Loader), StoreError> {
        let mut engine = Engine::new(settings, seed);
        let first = store.replay(&mut |record| {
            read.fetch_add(1, Ordering::Relaxed);
            if let Err(refusal) = engine.restore(now, record) {
                tracing::error!("a recurring job is left out: {refusal}");
            }
        })?;
        let (storage, committer, loader) = Storage::new(store)?;
        let broker = Self::with(engine, Some(storage), max_outbox);
        broker.tell(sinks);
        broker.with_engine(None, |engine, delivery| {
            // Nothing may have been kept, which would tell the time.
            engine.set_clock(now);
            engine.begin(first, delivery);
        });
        Ok((broker, committer, loader))
    }

    fn with(engine: Engine, storage: Option<Storage>, max_outbox: usize) -> Self {
        let feed = Arc::new(Feed::new(engine.handle_prefix()));
        Self {
            engine: Mutex::new(engine),
            storage,
            directory: Directory::default(),
            next_conn: AtomicU64::new(1),
            max_outbox,
            armed: AtomicU64::new(u64::MAX),
            rearm: Notify::new(),
            shutdown: Mutex::default(),
            shutdown_asked: Notify::new(),
            feed,
        }
    }

    /// A connection came. It must be closed by [`Broker::close`].
    pub fn open_at(&self, now: Timestamp, address: IpAddr) -> (ConnId, Arc<Outbox>) {
        self.lock().set_clock(now);
        self.open(address)
    }

    /// The same at the time of what happened last.
    pub fn open(&self, address: IpAddr) -> (ConnId, Arc<Outbox>) {
        let conn = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::new(self.max_outbox));
        self.directory.insert(conn, outbox.clone());
        self.lock().connect(conn, address);
        (conn, outbox)
    }

    /// A connection went.
    pub fn close(&self, now: Timestamp, conn: ConnId) {
        self.directory.remove(conn);
        self.with_engine(None, |engine, delivery| engine.disconnect(now, conn, delivery));
    }

    /// Carries out a batch of requests of one connection, in order, under one lock. The answers are in its outbox
    /// when this returns, and leave by the end of the turn, see [`turn`].
    pub fn apply(&self, now: Timestamp, conn: ConnId, outbox: &Arc<Outbox>, batch: &mut Vec<Request>) {
        debug_assert!(batch.len() <= BATCH);
        self.with_engine(Some((conn, outbox)), |engine, delivery| {
            engine.hear(now, conn);
            for request in batch.drain(..) {
                engine.apply(now, conn, request, delivery);
            }
        });
    }

    /// Carries out submits that may ask for more than the protocol knows, at most [`BATCH`], under one lock. They are answered
    /// like all others. Returns the least number that a job made by them has: one with a lesser number was there before.
    pub fn submit_on_terms(
        &self,
        now: Timestamp,
        conn: ConnId,
        outbox: &Arc<Outbox>,
        submits: Vec<(Submit, Terms)>,
    ) -> JobId {
        debug_assert!(submits.len() <= BATCH);
        let mut first = JobId(0);
        self.with_engine(Some((conn, outbox)), |engine, delivery| {
            engine.hear(now, conn);
            first = engine.next_job();
            for (submit, terms) in submits {
                engine.submit_on_terms(now, conn, submit, terms, delivery);
            }
        });
        first
    }

    /// Does something to some jobs, in one go: at most [`BATCH`]. Returns what became of each, and up to where the log
    /// must be safe before that may be told.
    pub fn control(
        &self,
        now: Timestamp,
        jobs: &[JobId],
        action: Action,
    ) -> (Vec<Result<Did, Undone>>, RecordNo) {
        debug_assert!(jobs.len() <= BATCH);
        self.operate(now, |engine, out| jobs.iter().map(|id| engine.control(*id, action, out)).collect())
    }

    /// Sets a policy, or lifts it; see [`Engine::set_policy`].
    pub fn set_policy(
        &self,
        now: Timestamp,
        pattern: &str,
        policy: Option<Policy>,
    ) -> (Result<(), Refusal>, RecordNo) {
        self.operate(now, |engine, out| engine.set_policy(pattern, policy, out).map(drop))
    }

    /// Removes a function that is not in use; see [`Engine::drop_unused`].
    pub fn drop_function(&self, now: Timestamp, name: &[u8]) -> (Result<(), Undropped>, RecordNo) {
        self.operate(now, |engine, out| engine.drop_unused(name, out).map(drop))
    }

    /// Makes a recurring job or changes one; see [`Engine::put_schedule`]. With up to where the log must be safe before
    /// that may be told; so do the next three.
    pub fn put_schedule(
        &self,
        now: Timestamp,
        id: Option<JobId>,
        plan: Plan,
        spec: Spec,
    ) -> (Result<Put, Refusal>, RecordNo) {
        self.operate(now, |engine, out| engine.put_schedule(id, plan, spec, out).map(|(put, _)| put))
    }

    /// Pauses a recurring job, or has it go on; see [`Engine::pause_schedule`].
    pub fn pause_schedule(
        &self,
        now: Timestamp,
        id: JobId,
        paused: bool,
    ) -> (Result<bool, Refusal>, RecordNo) {
        self.operate(now, |engine, out| engine.pause_schedule(id, paused, out))
    }

    /// Ends a recurring job; see [`Engine::delete_schedule`].
    pub fn delete_schedule(&self, now: Timestamp, id: JobId) -> (Result<bool, Refusal>, RecordNo) {
        self.operate(now, |engine, out| engine.delete_schedule(id, out))
    }

    /// Submits the job of a recurring job now; see [`Engine::run_schedule_now`].
    pub fn run_schedule_now(&self, now: Timestamp, id: JobId) -> (Result<JobId, Refusal>, RecordNo) {
        self.operate(now, |engine, out| engine.run_schedule_now(id, out))
    }

    /// Asks a worker to stop when it is done with what it has; whether there is such a connection.
    pub fn stop_worker(&self, now: Timestamp, conn: ConnId) -> bool {
        self.operate(now, |engine, out| engine.stop_worker(conn, out)).0
    }

    /// Ends a connection; whether there is such a one.
    pub fn disconnect(&self, now: Timestamp, conn: ConnId) -> bool {
        self.operate(now, |engine, out| engine.disconnect_peer(conn, out)).0
    }

    /// Watches all that happens to jobs.
    pub fn watch(&self) -> Watch {
        self.feed.watch()
    }

    /// Has these told what happens to jobs. Only the first ones count.
    pub fn tell(&self, sinks: Sinks) {
        self.feed.tell(sinks);
    }

    fn operate<T>(
        &self,
        now: Timestamp,
        run: impl FnOnce(&mut Engine, &mut Delivery<'_>) -> T,
    ) -> (T, RecordNo) {
        let mut answer = None;
        self.with_engine(None, |engine, delivery| {
            engine.set_clock(now);
            let before = delivery.position();
            let done = run(engine, delivery);
            // What is not kept waits for nothing.
            let after = Some(delivery.position()).filter(|after| *after > before);
            answer = Some((done, after.unwrap_or(RecordNo::NONE)));
        });
        answer.expect("it was run")
    }

    /// Does what has become due.
    pub fn advance(&self, now: Timestamp) {
        self.with_engine(None, |engine, delivery| engine.advance(now, delivery));
    }

    /// When [`Broker::advance`] next has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.lock().next_deadline()
    }

    /// The same, noting that the timer sleeps until then. Under the lock, so that no earlier deadline slips between.
    fn arm(&self) -> Option<Timestamp> {
        let engine = self.lock();
        let deadline = engine.next_deadline();
        self.armed.store(deadline.map_or(u64::MAX, Timestamp::as_micros), Ordering::Relaxed);
        deadline
    }

    /// Appends so many rows of a list; whether there are more. See [`Engine::list`].
    pub fn list(&self, lister: &mut Lister, rows: usize, into: &mut Vec<u8>) -> bool {
        self.lock().list(lister, rows, into)
    }

    /// Looks at the engine. Under the lock: what `look` does must be short, and copies out what is told.
    pub fn view<R>(&self, look: impl FnOnce(&Engine) -> R) -> R {
        look(&self.lock())
    }

    /// Passes on the bodies that submits of these jobs came with, as far as the store has them. Blocks.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_stored(
        &self,
        jobs: &[JobId],
        each: &mut dyn FnMut(JobId, Option<Bytes>),
    ) -> Result<(), StoreError> {
        self.storage.as_ref().map_or(Ok(()), |storage| storage.read(jobs, each))
    }

    /// What the worker of a job that is over said at its end, if that is on disk. Blocks.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_result(&self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        self.storage.as_ref().map_or(Ok(None), |storage| storage.read_result(job))
    }

    /// Up to where the log is safe. Without a store no answer depends on it.
    pub fn durable(&self) -> RecordNo {
        self.storage.as_ref().map_or(RecordNo::NONE, |storage| storage.log.durable())
    }

    /// Has an outbox told when the log is safe up to `record`.
    pub fn wait_for(&self, record: RecordNo, outbox: &Arc<Outbox>) -> Wait {
        self.storage.as_ref().map_or(Wait::Over, |storage| storage.log.wait_for(record, outbox))
    }

    /// Waits until the log is safe up to `record`.
    ///
    /// # Errors
    /// The store failed: it never will be.
    pub async fn safe(&self, record: RecordNo) -> Result<(), Refusal> {
        let told = Arc::new(Outbox::new(0));
        while self.durable() < record {
            match self.wait_for(record, &told) {
                Wait::Over => break,
                Wait::Never => return Err(Refusal::STORE_FAILED),
                Wait::Noted => told.changed().await,
            }
        }
        Ok(())
    }

    /// Whether no more has gathered for the store than may: else connections that would add to it do not read.
    pub fn has_room(&self) -> bool {
        self.storage.as_ref().is_none_or(|storage| storage.log.has_room())
    }

    /// Waits until it is so.
    pub async fn room(&self) {
        if let Some(storage) = &self.storage {
            storage.log.room().await;
        }
    }

    /// Whether background jobs are taken, and if not, what their clients are told.
    ///
    /// # Errors
    /// What a new job would be refused with.
    pub fn readiness(&self) -> Result<(), Refusal> {
        self.storage.as_ref().map_or(Ok(()), |storage| storage.log.readiness())
    }

    /// Returns when all that was taken is safe. Nothing may be asked of the broker afterwards. Blocks.
    pub fn close_store(&self) {
        if let Some(storage) = &self.storage {
            storage.close();
        }
    }

    fn loaded(&self, read: Vec<(Load, Option<Bytes>)>) {
        self.with_engine(None, |engine, delivery| {
            for (what, bytes) in read {
                match what {
                    Load::Payload(id) => engine.loaded(id, bytes, delivery),
                    Load::Result(id) => engine.result_loaded(id, bytes, delivery),
                }
            }
        });
    }

    /// Begins the end: see [`Engine::drain`].
    pub fn drain(&self, drain: Drain) {
        self.with_engine(None, |engine, delivery| engine.drain(drain, delivery));
    }

    /// Whether the end that was begun is reached.
    pub fn is_drained(&self) -> bool {
        self.lock().is_drained()
    }

    /// Tells all clients that still wait that their jobs failed, and ends all connections once that has left.
    pub fn end_all(&self, reason: &'static str) {
        self.with_engine(None, |engine, delivery| engine.give_up(delivery));
        self.directory.for_each(|outbox| outbox.entry().end(End::Close(reason)));
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.directory.len()
    }

    /// Waits until a peer asks for the server's end.
    pub async fn shutdown_asked(&self) -> Drain {
        loop {
            let asked = self.shutdown.lock().ok().and_then(|mut asked| asked.take());
            match asked {
                Some(drain) => return drain,
                None => self.shutdown_asked.notified().await,
            }
        }
    }

    /// Checks all invariants; for tests.
    pub fn check(&self) {
        self.lock().check();
    }

    /// Checks that nothing is left; for tests.
    pub fn check_empty(&self) {
        self.lock().check_empty();
    }

    fn with_engine(
        &self,
        own: Option<(ConnId, &Arc<Outbox>)>,
        run: impl FnOnce(&mut Engine, &mut Delivery<'_>),
    ) {
        let mut delivery = Delivery::new(self, own);
        let durable = self.durable();
        let must_rearm = {
            let mut engine = self.lock();
            run(&mut engine, &mut delivery);
            engine.settle(durable);
            let deadline = engine.next_deadline();
            deadline.is_some_and(|deadline| deadline.as_micros() < self.armed.load(Ordering::Relaxed))
        };
        // After the lock: who is woken would otherwise run into it.
        if let Some(drain) = delivery.finish() {
            if let Ok(mut asked) = self.shutdown.lock() {
                *asked = Some(drain);
            }
            self.shutdown_asked.notify_one();
        }
        if must_rearm {
            self.rearm.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(|_| {
            // A change of state was left half done; to go on serving from it would be to lie.
            tracing::error!("the queue manager failed in the middle of a change; the server ends");
            std::process::abort()
        })
    }
}
