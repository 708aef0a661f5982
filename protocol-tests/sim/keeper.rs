//! The store in a world: its threads, one step at a time; its troubles; the end of a process and the next one.

use std::sync::atomic::AtomicU64;

use gearhouse::broker::{Broker, Committer, Loader, Next, Sinks, Wait};
use gearhouse::engine::{Engine, Load, Seed};
use gearhouse::outbox::End;
use gearhouse::types::JobId;

use super::disk::{BadRead, Disk, Fault, Trouble};
use super::model::Safe;
use super::seen::Seen;
use super::swarm::{Swarm, choice};
use super::world::World;

/// A store, what drives it, and what it has made safe.
pub struct Keeper {
    pub disk: Disk,
    /// Gone when its store failed.
    committer: Option<Committer>,
    loader: Loader,
    /// The last record that was gathered.
    gathered: u64,
    under_way: Option<UnderWay>,
    /// What a crash would bring back now.
    pub safe: Safe,
    is_closed: bool,
}

/// A batch between being gathered and being told of.
struct UnderWay {
    last: u64,
    /// What a crash brings back once it is safe.
    then: Safe,
    is_safe: bool,
}

/// What the disk of a world is like.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// In percent of the steps: how often the committer, and the loader, take one too.
    pub commits: u32,
    pub loads: u32,
    /// One step in so many brings each of these, on average; 0: none does.
    pub fills: usize,
    pub fails: usize,
    pub bad_reads: usize,
    pub crashes: usize,
}

impl Habits {
    pub fn drawn(rng: &mut fastrand::Rng) -> Self {
        Self {
            commits: choice(rng, &[5, 30, 60, 100]),
            loads: choice(rng, &[5, 30, 100]),
            fills: choice(rng, &[0, 0, 60, 300]),
            fails: choice(rng, &[0, 300, 1500]),
            bad_reads: choice(rng, &[0, 0, 10, 100]),
            crashes: choice(rng, &[0, 60, 200, 700]),
        }
    }
}

/// A process that begins: with what a disk kept, or with nothing and no disk.
pub fn boot(
    swarm: &Swarm,
    now: gearhouse::types::Timestamp,
    hash: u64,
    disk: Option<Disk>,
    safe: Safe,
) -> (Broker, Engine, Seen, Option<Keeper>) {
    let settings = || swarm.settings.clone();
    let Some(disk) = disk else {
        let seed = |hash| Seed { first_job: JobId(swarm.first_number), hash };
        let broker = Broker::new(settings(), seed(hash), swarm.max_outbox);
        let mut seen = Seen::default();
        seen.is_watched = swarm.is_watched;
        return (broker, Engine::new(settings(), seed(!hash)), seen, None);
    };
    let seed = |hash| Seed { first_job: JobId(1), hash };
    let store = Box::new(disk.clone());
    let (broker, committer, loader) = Broker::open_driven(
        now,
        settings(),
        seed(hash),
        swarm.max_outbox,
        store,
        &AtomicU64::new(0),
        Sinks::default(),
    )
    .expect("the disk is mended");
    let mut twin = Engine::new(settings(), seed(!hash));
    let records = disk.take_replayed();
    let mut seen = Seen::with_store(&records, swarm.is_watched);
    for record in records {
        twin.restore(now, record).expect("what was taken once is taken again");
    }
    twin.set_clock(now);
    twin.begin(JobId(disk.first_number()), &mut seen);
    let keeper = Keeper {
        disk,
        committer: Some(committer),
        loader,
        gathered: 0,
        under_way: None,
        safe,
        is_closed: false,
    };
    (broker, twin, seen, Some(keeper))
}

impl World<'_> {
    /// What the store does beside everything else.
    pub(super) fn disturb(&mut self) {
        let (Some(habits), Some(keeper)) = (self.scene.swarm.disk, &self.keeper) else { return };
        let rng = &mut self.scene.rng;
        let happens = |rng: &mut fastrand::Rng, every: usize| every > 0 && rng.usize(0..every) == 0;
        if happens(rng, habits.fills) {
            let room = choice(rng, &[None, None, Some(0), Some(1), Some(3)]);
            self.trace.line(|| format!("the disk has room for {room:?}"));
            keeper.disk.set_room(room);
        }
        if happens(rng, habits.fails) {
            let trouble = choice(rng, &[Trouble::Lost, Trouble::Kept]);
            self.trace.line(|| format!("the disk fails: {trouble:?}"));
            keeper.disk.set_trouble(Some(trouble));
        }
        if happens(rng, habits.bad_reads) {
            keeper.disk.set_bad_read(Some((rng.usize(0..3), choice(rng, &[BadRead::Row, BadRead::All]))));
        }
        let (commits, loads) = (rng.u32(0..100) < habits.commits, rng.u32(0..100) < habits.loads);
        let crashes = happens(rng, habits.crashes);
        if commits {
            self.commit();
        }
        if loads {
            self.load();
        }
        if (commits || loads) && self.scene.rng.u32(0..100) < self.scene.swarm.haste {
            for seat in (0..self.seats.len()).rev() {
                self.read(seat);
            }
        }
        if crashes {
            self.end_process();
        }
    }

    /// One step of the thread that makes records safe. Whether it has more to do at once.
    pub(super) fn commit(&mut self) -> bool {
        let Some(keeper) = &mut self.keeper else { return false };
        let Some(committer) = &mut keeper.committer else { return false };
        let before = keeper.disk.batches();
        let was_safe = keeper.under_way.as_ref().is_some_and(|batch| batch.is_safe);
        if keeper.under_way.is_none() && self.seen.last > keeper.gathered {
            keeper.gathered = self.seen.last;
            keeper.under_way =
                Some(UnderWay { last: self.seen.last, then: self.model.kept(), is_safe: false });
        }
        let next = committer.step();
        match &mut keeper.under_way {
            Some(batch) if keeper.disk.batches() > before => {
                self.trace.line(|| format!("safe up to {}", batch.last));
                keeper.safe = batch.then.clone();
                batch.is_safe = true;
            }
            Some(batch) if was_safe => {
                self.trace.line(|| format!("{} is told to be safe", batch.last));
                self.seen.durable = batch.last;
                keeper.under_way = None;
            }
            _ => assert_eq!(keeper.disk.batches(), before, "only what was gathered is written"),
        }
        self.seen.fault = keeper.disk.fault();
        if next == Next::End {
            keeper.committer = None;
            if !keeper.is_closed || keeper.under_way.is_some() {
                self.trace.line(|| "the store has failed".into());
                self.seen.fault = Fault::Failed;
                keeper.under_way = None;
            }
        }
        let seen = &self.seen;
        assert_eq!(
            self.broker.durable().0,
            seen.durable,
            "what is told to be safe is safe, and the other way"
        );
        assert_eq!(
            self.broker.readiness().is_ok(),
            seen.fault == Fault::None,
            "{:?}, and it is known",
            seen.fault
        );
        if seen.fault == Fault::Failed {
            for seat in &mut self.seats {
                if seat.wire.is_noted(seen.durable()) {
                    seat.wire.must_end(End::Cut(""));
                }
            }
        }
        next == Next::Now
    }

    /// One step of the thread that reads payloads and results. Whether there was something to read.
    pub(super) fn load(&mut self) -> bool {
        let Some(keeper) = &mut self.keeper else { return false };
        if !keeper.loader.step(&self.broker) {
            return false;
        }
        let read = keeper.disk.take_reads();
        self.trace.line(|| {
            let shown: Vec<_> = read.iter().map(|(what, bytes)| (what, bytes.is_some())).collect();
            format!("these come: {shown:?}")
        });
        for (what, bytes) in &read {
            self.seen.comes(*what);
            match what {
                Load::Payload(id) => self.twin.loaded(*id, bytes.clone(), &mut self.seen),
                Load::Result(id) => self.twin.result_loaded(*id, bytes.clone(), &mut self.seen),
            }
        }
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        self.model.loaded(&read, &mut self.seen);
        true
    }

    /// The connection's task asks to be told when what is held may leave.
    pub(super) fn ask_to_be_told(&mut self, seat: usize) {
        let wire = &mut self.seats[seat].wire;
        let Some(record) = wire.asks() else { return };
        match self.broker.wait_for(record, &wire.outbox) {
            Wait::Over => {
                assert!(record <= self.seen.durable(), "{record:?} is not safe");
                wire.outbox.tell();
            }
            Wait::Noted => {
                assert!(record > self.seen.durable(), "{record:?} is safe already");
                assert!(self.seen.fault != Fault::Failed, "{record:?} will never be safe");
                wire.is_noted_now();
            }
            Wait::Never => {
                assert!(self.seen.fault == Fault::Failed, "{record:?} will be safe");
                wire.outbox.entry().end(End::Cut("the store failed"));
                wire.must_end(End::Cut(""));
            }
        }
    }

    /// The disk is well and all that waits for it is done.
    pub(super) fn calm(&mut self) {
        let Some(keeper) = &self.keeper else { return };
        keeper.disk.set_room(None);
        while self.commit() | self.load() {}
        self.seen.all_came();
    }

    /// The process dies, or ends in good order; its disk is all that is left, and a new process begins with it.
    pub(super) fn end_process(&mut self) {
        if self.keeper.is_none() {
            return;
        }
        let in_good_order = self.scene.rng.u8(0..4) == 0;
        if in_good_order {
            self.close();
        }
        self.trace.line(|| if in_good_order { "restart" } else { "crash" }.into());
        self.seats.clear();
        let Some(keeper) = self.keeper.take() else { return };
        keeper.disk.restart();
        let (swarm, now) = (&self.scene.swarm, self.scene.now);
        let (broker, twin, seen, keeper) = boot(swarm, now, self.hash, Some(keeper.disk), keeper.safe);
        (self.broker, self.twin, self.seen) = (broker, twin, seen);
        if let Some(keeper) = &keeper {
            self.model.restart(now, keeper.safe.clone(), &mut self.seen);
        }
        self.keeper = keeper;
        self.check();
        self.compare();
        for _ in 0..self.scene.rng.usize(0..=self.scene.swarm.peers) {
            self.connect();
        }
    }

    /// What the end of a server does about its store.
    fn close(&mut self) {
        self.broker.close_store();
        if let Some(keeper) = &mut self.keeper {
            keeper.is_closed = true;
        }
        while self.keeper.as_ref().is_some_and(|keeper| keeper.committer.is_some()) {
            self.commit();
        }
        if self.seen.fault != Fault::Failed
            && let Some(keeper) = &self.keeper
        {
            assert_eq!(keeper.gathered, self.seen.last, "all that was taken was gathered");
            assert_eq!(self.seen.durable, self.seen.last, "all that was taken is safe");
        }
    }
}
