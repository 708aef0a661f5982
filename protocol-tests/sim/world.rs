//! The world of one seed: a clock, connections with a peer at their other end, the server's own broker, and a twin of
//! its engine.
//!
//! Each request goes to both. The twin, whose tables are hashed with another seed, tells in which order things
//! happened; the model judges that; and the broker's outboxes, read whenever it pleases their connections, must hold
//! the same bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use gearhouse::broker::Broker;
use gearhouse::engine::Engine;
use gearhouse::types::Timestamp;

use super::ask::Ask;
use super::disk::Disk;
use super::keeper::{Keeper, boot};
use super::model::{Model, Safe};
use super::peer::{Peer, Scene};
use super::seen::Seen;
use super::swarm::{Action, Swarm, choice};
use super::trace::Trace;
use super::wire::Wire;

/// Where the clock stands when a world begins: a Wednesday morning.
const BEGIN: Timestamp = Timestamp::from_secs(1_795_600_000);

const DAY: Duration = Duration::from_secs(86_400);

pub struct World<'a> {
    pub(super) scene: Scene,
    pub(super) trace: &'a mut Trace,
    /// What the tables of the broker's engine are hashed with.
    pub(super) hash: u64,
    pub(super) broker: Broker,
    /// The store behind it, in some worlds.
    pub(super) keeper: Option<Keeper>,
    pub(super) twin: Engine,
    pub(super) model: Model,
    pub(super) seen: Seen,
    pub(super) seats: Vec<Seat>,
}

/// A connection and who sits at its other end.
pub(super) struct Seat {
    pub wire: Wire,
    pub peer: Peer,
}

impl<'a> World<'a> {
    /// `hash`: what the tables of the broker's engine are hashed with; it must make no difference.
    pub fn new(seed: u64, hash: u64, trace: &'a mut Trace) -> Self {
        let mut rng = Rng::with_seed(seed);
        let swarm = Swarm::drawn(&mut rng);
        trace.line(|| format!("{:?}", swarm.settings));
        trace.line(|| format!("{:?}", swarm.disk));
        let disk = swarm.disk.map(|_| Disk::new(swarm.first_number));
        let (broker, twin, seen, keeper) = boot(&swarm, BEGIN, hash, disk, Safe::default());
        let began = keeper.as_ref().map(|_| BEGIN);
        Self {
            hash,
            broker,
            keeper,
            twin,
            model: Model::new(swarm.settings.clone(), swarm.first_number, began),
            scene: Scene {
                rng,
                swarm,
                now: BEGIN,
                handles: VecDeque::new(),
                is_crowded: false,
                is_late: false,
            },
            trace,
            seen,
            seats: Vec::new(),
        }
    }

    pub fn run(&mut self, steps: usize) {
        for step in 0..steps {
            self.trace.step = step;
            self.scene.is_late = step > steps * 9 / 10;
            self.step();
            if step % self.scene.swarm.check_every == 0 {
                self.check();
            }
            if step % self.scene.swarm.compare_every == 0 {
                self.compare();
            }
        }
        self.trace.step = steps;
        self.check();
        self.compare();
    }

    pub(super) fn step(&mut self) {
        let action = self.scene.swarm.actions.choose(&mut self.scene.rng).unwrap_or(Action::Speak);
        let seat = (!self.seats.is_empty()).then(|| self.scene.rng.usize(0..self.seats.len()));
        match (action, seat) {
            (Action::Connect, Some(_)) if self.seats.len() >= self.scene.swarm.peers => {}
            (Action::Connect, _) | (_, None) => self.connect(),
            (Action::Tick, _) => self.tick(),
            (Action::Jump, _) => self.jump(),
            (Action::Operate, _) => self.operate(),
            (Action::Speak, Some(seat)) => self.speak(seat),
            (Action::Arrive, Some(seat)) => {
                let bytes = self.some_bytes(seat);
                self.arrive(seat, bytes);
            }
            (Action::Read, Some(seat)) => self.read(seat),
            (Action::Leave, Some(seat)) => self.leave(seat),
            (Action::BreakOff, Some(seat)) => self.break_off(seat),
        }
        self.disturb();
    }

    pub(super) fn connect(&mut self) {
        let habit = self.scene.swarm.habits.choose(&mut self.scene.rng).expect("there are always clients");
        let is_loopback = self.scene.rng.bool();
        let address = if is_loopback { "127.0.0.1" } else { "2001:db8::7" };
        let ip = address.parse().expect("an address");
        let (conn, outbox) = self.broker.open(ip);
        self.twin.connect(conn, ip);
        self.model.connect(conn, address, is_loopback);
        let wire = Wire::new(conn, outbox, self.scene.swarm.max_frame, self.scene.swarm.max_outbox);
        let peer = Peer::new(habit, &mut self.scene);
        self.trace.line(|| format!("{conn} connects, a {habit:?}"));
        self.seats.push(Seat { wire, peer });
    }

    /// Someone says something: the first who has something to say, counted from this seat on.
    fn speak(&mut self, first: usize) {
        let (jobs, over) = (self.model.jobs.len(), self.model.over.len());
        self.scene.is_crowded = jobs >= self.scene.swarm.jobs || over >= 2 * self.scene.swarm.jobs;
        let is_hasty = self.scene.rng.u32(0..100) < self.scene.swarm.haste;
        let most = if is_hasty { 1 } else { self.scene.rng.usize(1..6) };
        for seat in (first..self.seats.len()).chain(0..first) {
            let said = (0..most).take_while(|_| self.say(seat)).count();
            if said > 0 && is_hasty {
                let bytes = self.seats[seat].wire.on_the_way();
                self.arrive(seat, bytes);
                self.read(seat);
            }
            if said > 0 {
                return;
            }
        }
    }

    /// Whether the peer had something to say.
    fn say(&mut self, seat: usize) -> bool {
        let Seat { wire, peer } = &mut self.seats[seat];
        let Some(ask) = peer.speak(&mut self.scene) else { return false };
        self.trace.line(|| format!("{} says {ask}", wire.conn));
        wire.send(ask, self.scene.rng.bool());
        true
    }

    /// How much of what a peer sent arrives.
    fn some_bytes(&mut self, seat: usize) -> usize {
        let all = self.seats[seat].wire.on_the_way();
        if self.scene.rng.u32(0..100) < self.scene.swarm.cuts { self.scene.rng.usize(0..=all) } else { all }
    }

    /// The peer leaves: what it said last may have arrived or not.
    fn leave(&mut self, seat: usize) {
        let bytes = self.some_bytes(seat);
        self.arrive(seat, bytes);
        self.hang_up(seat);
    }

    /// The peer leaves in the middle of a packet, and comes back.
    fn break_off(&mut self, seat: usize) {
        let part = Ask::Echo(Bytes::from_static(b"never said")).encode(false);
        self.seats[seat].wire.send_part(&part[..self.scene.rng.usize(1..part.len())]);
        let bytes = self.some_bytes(seat);
        self.arrive(seat, bytes);
        self.hang_up(seat);
        self.connect();
    }

    fn tick(&mut self) {
        // A time-out of half a million years is not waited for.
        let due = self.twin.next_deadline().filter(|due| due.since(self.scene.now) < 10 * DAY);
        let millis = choice(&mut self.scene.rng, &[0, 1, 20, 300, 900, 1000, 2500]);
        let later = self.scene.now.after(Duration::from_millis(millis));
        // To the moment at which something is due, or to any other.
        self.scene.now =
            if self.scene.rng.bool() { due.map_or(later, |due| due.max(self.scene.now)) } else { later };
        self.let_pass();
    }

    fn jump(&mut self) {
        self.scene.now =
            self.scene.now.after(Duration::from_secs(choice(&mut self.scene.rng, &[60, 700, 20_000])));
        self.let_pass();
    }

    fn let_pass(&mut self) {
        self.trace.line(|| {
            format!(
                "it is {}.{:06}",
                self.scene.now.as_micros() / 1_000_000,
                self.scene.now.as_micros() % 1_000_000
            )
        });
        if self.scene.rng.u32(0..100) >= self.scene.swarm.late_timer {
            self.advance();
        }
    }
}
