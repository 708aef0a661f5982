//! What the server does in a world: the tasks of its connections, its timer, its end. Whatever happens, happens to the
//! twin first; then the model judges it; then it happens to the broker.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use gearhouse::broker::BATCH;
use gearhouse::engine::{Drain, Lister};
use gearhouse::outbox::End;
use gearhouse::protocol::{Admin, Broken, Kind, Listing, Request, Response, WriteBuf};
use gearhouse::types::{ConnId, RecordNo, Timestamp};

use super::ask::Ask;
use super::item::Item;
use super::seen::Event;
use super::world::World;

impl World<'_> {
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
                    if self.seats[seat].wire.is_free(self.seen.durable()) {
                        self.tell_list(seat, listing, &ask);
                    } else {
                        // It would wait for what is held back; here it is told as any other answer is.
                        batch.push((Request::Admin(Admin::List(listing)), ask));
                    }
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
        self.twin.settle(self.seen.durable());
        let outbox = self.seats[seat].wire.outbox.clone();
        self.broker.apply(now, conn, &outbox, &mut requests);
        self.obey_shutdown();
    }

    /// A list is told in pieces, past the outbox.
    fn tell_list(&mut self, seat: usize, listing: Listing, ask: &Ask) {
        self.trace.line(|| format!("{} > {ask}, told in pieces", self.seats[seat].wire.conn));
        let taken = self.take(seat);
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
            wire.outbox.entry().push(RecordNo::NONE, self.broker.durable(), &answer);
            let mut bytes = WriteBuf::default();
            answer.encode(&mut bytes);
            let len = bytes.remaining();
            wire.must_hold(RecordNo::NONE, &bytes.copy_to_bytes(len), true);
        }
        wire.outbox.entry().end(End::Close("it sent what is no packet"));
        wire.must_end(End::Close(""));
    }

    /// Notes in which outboxes the twin's answers must be. `own`: whose task carries out the requests.
    pub(super) fn deliver(&mut self, own: Option<ConnId>) {
        for event in &self.seen.events {
            let (Event::Sent(to, ..) | Event::Held(to, ..) | Event::Filled(to, ..) | Event::Closed(to)) =
                event;
            let wire = self.seats.iter_mut().map(|seat| &mut seat.wire).find(|wire| wire.conn == *to);
            // Who left with an answer still to come is answered in vain.
            let Some(wire) = wire else {
                assert!(matches!(event, Event::Filled(..)), "only who is connected is sent something");
                continue;
            };
            match event {
                Event::Sent(_, after, bytes) => {
                    self.trace.line(|| format!("{to} < {}{}", Item::first(&mut bytes.clone()), held(*after)));
                    wire.must_hold(RecordNo(*after), bytes, own == Some(*to));
                }
                Event::Held(_, after, job) => {
                    self.trace.line(|| format!("{to} < the payload of {job} is waited for{}", held(*after)));
                    wire.must_keep_place(RecordNo(*after), *job);
                }
                Event::Filled(_, job, bytes) => {
                    self.trace
                        .line(|| format!("{to} < {}, where {job} was", Item::first(&mut bytes.clone())));
                    wire.must_fill(*job, bytes, own == Some(*to));
                }
                Event::Closed(_) => {
                    self.trace.line(|| format!("{to} is closed"));
                    wire.must_end(End::Close(""));
                }
            }
        }
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

    /// A connection's task writes what there is, and the peer reads it.
    pub(super) fn read(&mut self, seat: usize) {
        let taken = self.take(seat);
        let ends_now = self.seats[seat].wire.ends_now();
        self.hear(seat, taken);
        if ends_now {
            self.hang_up(seat);
        }
    }

    /// All that may leave is taken. What is held back is asked for now, or only before the next time: a write may take
    /// long.
    fn take(&mut self, seat: usize) -> Bytes {
        self.ask_to_be_told(seat);
        let taken = self.seats[seat].wire.take(self.broker.durable());
        if self.scene.swarm.disk.is_some() && self.scene.rng.bool() {
            self.ask_to_be_told(seat);
        }
        taken
    }

    fn hear(&mut self, seat: usize, bytes: Bytes) {
        for item in Item::all(bytes) {
            let peer = &mut self.seats[seat].peer;
            let is_acknowledged = peer.ledger.acknowledges(&item);
            peer.read(&item, &mut self.scene.rng);
            if let (Some(keeper), Item::Packet { body, .. }, true) = (&self.keeper, &item, is_acknowledged) {
                self.model.check_acknowledged(body, &keeper.safe);
            }
            if let Item::Packet { kind: Kind::JobCreated, body } = &item {
                self.scene.handles.push_back(body.clone());
                if self.scene.handles.len() > 16 {
                    self.scene.handles.pop_front();
                }
            }
        }
    }

    pub(super) fn hang_up(&mut self, seat: usize) {
        let conn = self.seats.remove(seat).wire.conn;
        self.trace.line(|| format!("{conn} is gone"));
        self.twin.disconnect(self.scene.now, conn, &mut self.seen);
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        self.model.disconnect(self.scene.now, conn, &mut self.seen);
        self.broker.close(self.scene.now, conn);
    }

    /// What the timer does, until nothing is due.
    pub(super) fn advance(&mut self) {
        while self.twin.next_deadline().is_some_and(|due| due <= self.scene.now) {
            self.twin.advance(self.scene.now, &mut self.seen);
            self.twin.settle(self.seen.durable());
            self.deliver(None);
            self.model.advance(self.scene.now, &mut self.seen);
            if self.model.has_nameless() {
                let listed = self.listed();
                self.model.name_scheduled(listed.into_iter(), &self.seen);
            }
            self.broker.advance(self.scene.now);
        }
        let due = self.model.next_due();
        assert!(due.is_none_or(|due| due > self.scene.now), "what was due is done");
    }

    pub(super) fn drain(&mut self, drain: Drain) {
        self.trace.line(|| format!("drain {drain:?}"));
        self.twin.drain(drain, &mut self.seen);
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        self.model.drain(drain, &mut self.seen);
        self.broker.drain(drain);
    }

    pub(super) fn end_all(&mut self) {
        self.trace.line(|| "all connections end".into());
        self.twin.give_up(&mut self.seen);
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        self.model.give_up(&mut self.seen);
        self.broker.end_all("the server ends");
        for seat in &mut self.seats {
            seat.wire.must_end(End::Close(""));
        }
    }
}

/// Whether and how an answer is held back.
fn held(after: u64) -> String {
    if after == 0 { String::new() } else { format!(", not before {after}") }
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros() - span.as_micros() as u64)
}
