//! The world of one seed: a clock, connections with a peer at their other end, the server's own broker, and a twin of
//! its engine.
//!
//! Each request goes to both. The twin, whose tables are hashed with another seed, tells in which order things
//! happened; the model judges that; and the broker's outboxes, read whenever it pleases their connections, must hold
//! the same bytes.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use gearhouse::broker::{BATCH, Broker};
use gearhouse::engine::{Drain, Engine, Lister, PeerInfo, Seed};
use gearhouse::outbox::End;
use gearhouse::protocol::{Admin, Broken, Kind, Listing, Request, Response, WriteBuf};
use gearhouse::types::{ConnId, JobId, RecordNo, Timestamp};

use bytes::Buf as _;

use super::ask::Ask;
use super::item::Item;
use super::model::Model;
use super::peer::{Peer, Scene};
use super::seen::{Event, Seen};
use super::swarm::{Action, Swarm, choice};
use super::trace::Trace;
use super::wire::Wire;

/// Where the clock stands when a world begins: a Wednesday morning.
const BEGIN: Timestamp = Timestamp::from_secs(1_795_600_000);

const DAY: Duration = Duration::from_secs(86_400);

pub struct World<'a> {
    pub(super) scene: Scene,
    trace: &'a mut Trace,
    broker: Broker,
    twin: Engine,
    pub(super) model: Model,
    seen: Seen,
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
        let seed = |hash| Seed { first_job: JobId(swarm.first_number), hash };
        Self {
            broker: Broker::new(swarm.settings.clone(), seed(hash), swarm.max_outbox),
            twin: Engine::new(swarm.settings.clone(), seed(!hash)),
            model: Model::new(swarm.settings.clone(), swarm.first_number),
            scene: Scene {
                rng,
                swarm,
                now: BEGIN,
                handles: VecDeque::new(),
                is_crowded: false,
                is_late: false,
            },
            trace,
            seen: Seen::default(),
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
            (Action::Speak, Some(seat)) => self.speak(seat),
            (Action::Arrive, Some(seat)) => {
                let bytes = self.some_bytes(seat);
                self.arrive(seat, bytes);
            }
            (Action::Read, Some(seat)) => self.read(seat),
            (Action::Leave, Some(seat)) => self.leave(seat),
            (Action::BreakOff, Some(seat)) => self.break_off(seat),
        }
    }

    pub(super) fn connect(&mut self) {
        let habit = self.scene.swarm.habits.choose(&mut self.scene.rng).expect("there are always clients");
        let is_loopback = self.scene.rng.bool();
        let address = if is_loopback { "127.0.0.1" } else { "2001:db8::7" };
        let info = PeerInfo { address: address.into(), is_loopback };
        let (conn, outbox) = self.broker.open(info.clone());
        self.twin.connect(conn, info);
        self.model.connect(conn, address, is_loopback);
        let wire = Wire::new(conn, outbox, self.scene.swarm.max_frame, self.scene.swarm.max_outbox);
        let peer = Peer::new(habit, &mut self.scene);
        self.trace.line(|| format!("{conn} connects, a {habit:?}"));
        self.seats.push(Seat { wire, peer });
    }

    /// Someone says something: the first who has something to say, counted from this seat on.
    fn speak(&mut self, first: usize) {
        self.scene.is_crowded = self.model.jobs.len() >= self.scene.swarm.jobs;
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

    /// Bytes arrive, and the server carries out what it understands of them, as a connection's task does.
    pub(super) fn arrive(&mut self, seat: usize, bytes: usize) {
        if self.seats[seat].wire.is_ended() {
            return;
        }
        self.seats[seat].wire.arrive(bytes);
        let mut batch = Vec::new();
        loop {
            match self.seats[seat].wire.decode() {
                Ok(Some((Request::Admin(Admin::List(listing)), ask))) if self.scene.rng.bool() => {
                    self.carry_out(seat, &mut batch);
                    self.tell_list(seat, listing, &ask);
                }
                Ok(Some(asked)) => batch.push(asked),
                Ok(None) => break self.carry_out(seat, &mut batch),
                Err(broken) => {
                    self.carry_out(seat, &mut batch);
                    break self.refuse(seat, &broken);
                }
            }
            if batch.len() >= self.scene.swarm.batch.min(BATCH) {
                self.carry_out(seat, &mut batch);
            }
        }
    }

    fn carry_out(&mut self, seat: usize, batch: &mut Vec<(Request, Ask)>) {
        if batch.is_empty() {
            return;
        }
        let conn = self.seats[seat].wire.conn;
        // Another thread may have read the clock later and come first.
        let now = if self.scene.rng.u8(0..8) == 0 {
            before(self.scene.now, Duration::from_millis(3))
        } else {
            self.scene.now
        };
        let mut requests = Vec::new();
        for (request, ask) in batch.drain(..) {
            self.trace.line(|| format!("{conn} > {ask}"));
            requests.push(request.clone());
            self.twin.apply(now, conn, request, &mut self.seen);
            self.deliver(Some(conn));
            self.model.apply(now, conn, &ask, &mut self.seen);
        }
        let outbox = self.seats[seat].wire.outbox.clone();
        self.broker.apply(now, conn, &outbox, &mut requests);
        self.obey_shutdown();
    }

    /// A list is told in pieces, past the outbox.
    fn tell_list(&mut self, seat: usize, listing: Listing, ask: &Ask) {
        self.trace.line(|| format!("{} > {ask}, told in pieces", self.seats[seat].wire.conn));
        let taken = self.seats[seat].wire.take(self.broker.durable());
        self.hear(seat, taken);
        let mut lister = Lister::new(listing);
        let mut text = Vec::new();
        while self.broker.list(&mut lister, self.scene.rng.usize(1..4), &mut text) {}
        let expected = self.model.list(listing);
        assert!(text == expected, "told {}\nnot {}", text.escape_ascii(), expected.escape_ascii());
        // Who was cut hears no more, and some of what came before is lost.
        if !self.seats[seat].wire.is_ended() {
            self.hear(seat, text.into());
        }
    }

    fn refuse(&mut self, seat: usize, broken: &Broken) {
        let wire = &mut self.seats[seat].wire;
        self.trace.line(|| format!("{} is not understood: {broken}", wire.conn));
        if let Some(refusal) = broken.refusal() {
            let answer = Response::Error(&refusal);
            wire.outbox.push(RecordNo::NONE, self.broker.durable(), &answer);
            let mut bytes = WriteBuf::default();
            answer.encode(&mut bytes);
            let len = bytes.remaining();
            wire.must_hold(&bytes.copy_to_bytes(len), true);
        }
        wire.outbox.end(End::Close("it sent what is no packet"));
        wire.must_end(End::Close(""));
    }

    /// Notes in which outboxes the twin's answers must be. `own`: whose task carries out the requests.
    fn deliver(&mut self, own: Option<ConnId>) {
        for event in &self.seen.events {
            let (Event::Sent(to, _) | Event::Closed(to)) = event;
            let wire = self.seats.iter_mut().map(|seat| &mut seat.wire).find(|wire| wire.conn == *to);
            match event {
                Event::Sent(_, bytes) => {
                    self.trace.line(|| format!("{to} < {}", Item::first(&mut bytes.clone())));
                    wire.expect("only who is connected is sent something").must_hold(bytes, own == Some(*to));
                }
                Event::Closed(_) => {
                    self.trace.line(|| format!("{to} is closed"));
                    wire.expect("only who is connected is closed").must_end(End::Close(""));
                }
            }
        }
    }

    /// A connection's task writes what there is, and the peer reads it.
    pub(super) fn read(&mut self, seat: usize) {
        let wire = &mut self.seats[seat].wire;
        let taken = wire.take(self.broker.durable());
        let is_ended = wire.is_ended();
        self.hear(seat, taken);
        if is_ended {
            self.hang_up(seat);
        }
    }

    fn hear(&mut self, seat: usize, bytes: Bytes) {
        for item in Item::all(bytes) {
            let peer = &mut self.seats[seat].peer;
            peer.read(&item, &mut self.scene.rng);
            if let Item::Packet { kind: Kind::JobCreated, body } = &item {
                self.scene.handles.push_back(body.clone());
                if self.scene.handles.len() > 16 {
                    self.scene.handles.pop_front();
                }
            }
        }
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

    pub(super) fn hang_up(&mut self, seat: usize) {
        let conn = self.seats.remove(seat).wire.conn;
        self.trace.line(|| format!("{conn} is gone"));
        self.twin.disconnect(self.scene.now, conn, &mut self.seen);
        self.deliver(None);
        self.model.disconnect(self.scene.now, conn, &mut self.seen);
        self.broker.close(self.scene.now, conn);
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

    /// What the timer does, until nothing is due.
    pub(super) fn advance(&mut self) {
        while self.twin.next_deadline().is_some_and(|due| due <= self.scene.now) {
            self.twin.advance(self.scene.now, &mut self.seen);
            self.deliver(None);
            self.model.advance(self.scene.now, &mut self.seen);
            if self.model.has_nameless() {
                let listed = self.listed();
                self.model.name_scheduled(listed.into_iter());
            }
            self.broker.advance(self.scene.now);
        }
        let due = self.model.next_due();
        assert!(due.is_none_or(|due| due > self.scene.now), "what was due is done");
    }

    /// The numbers of all jobs.
    fn listed(&self) -> Vec<u64> {
        let text = self.twin_list(Listing::Jobs);
        let rows = std::str::from_utf8(&text).expect("handles are text").lines();
        rows.filter_map(|row| row.split('\t').next()?.rsplit(':').next()?.parse().ok()).collect()
    }

    fn twin_list(&self, listing: Listing) -> Vec<u8> {
        let mut text = Vec::new();
        let mut lister = Lister::new(listing);
        while self.twin.list(&mut lister, usize::MAX, &mut text) {}
        text
    }

    fn obey_shutdown(&mut self) {
        let asked = match pin!(self.broker.shutdown_asked()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(drain) => Some(drain),
            Poll::Pending => None,
        };
        assert_eq!(asked, self.seen.shutdown.take(), "a shutdown that was asked for is told");
        if let Some(drain) = asked {
            self.drain(drain);
        }
    }

    pub(super) fn drain(&mut self, drain: Drain) {
        self.trace.line(|| format!("drain {drain:?}"));
        self.twin.drain(drain, &mut self.seen);
        self.deliver(None);
        self.model.drain(drain, &mut self.seen);
        self.broker.drain(drain);
    }

    pub(super) fn end_all(&mut self) {
        self.trace.line(|| "all connections end".into());
        self.twin.give_up(&mut self.seen);
        self.deliver(None);
        self.model.give_up(&mut self.seen);
        self.broker.end_all("the server ends");
        for seat in &mut self.seats {
            seat.wire.must_end(End::Close(""));
        }
    }

    pub(super) fn check(&self) {
        self.twin.check();
        self.broker.check();
    }

    pub(super) fn check_empty(&self) {
        self.twin.check_empty();
        self.broker.check_empty();
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.twin.next_deadline()
    }

    /// Everything that can be listed is as the model counts it.
    pub(super) fn compare(&self) {
        for listing in LISTINGS {
            let (told, expected) = (self.twin_list(listing), self.model.list(listing));
            assert!(
                told == expected,
                "{listing:?} told\n{}\nand must tell\n{}",
                told.escape_ascii(),
                expected.escape_ascii()
            );
        }
        assert_eq!(self.model.log(), self.seen.log, "what the log brings back is what was kept");
        assert_eq!(self.broker.connections(), self.seats.len(), "connections");
        assert_eq!(self.broker.is_drained(), self.model.is_drained(), "the end is reached");
        let due = self.twin.next_deadline();
        assert_eq!(due, self.broker.next_deadline(), "both are due at the same time");
        if let Some(model) = self.model.next_due() {
            assert!(due.is_some_and(|due| due <= model), "due at {due:?}, at the latest {model:?}");
        }
    }
}

const LISTINGS: [Listing; 6] = [
    Listing::Status,
    Listing::PriorityStatus,
    Listing::Workers,
    Listing::Jobs,
    Listing::UniqueJobs,
    Listing::Schedules,
];

fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros() - span.as_micros() as u64)
}
