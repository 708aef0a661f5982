//! What operators do in a world beside the protocol: jobs are held, retried, deleted; policies come and go; workers are
//! asked to stop. Whatever they do, they do to the twin first; then the model judges it; then they do it to the broker.

use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use gearhouse::engine::{Action, Output as _};
use gearhouse::policy::{Order, Policy, Terms};
use gearhouse::protocol::{Codec, Request};
use gearhouse::trace_context::TraceContext;
use gearhouse::types::{JobId, Priority, RecordNo};
use tokio_util::codec::Decoder as _;

use super::ask::{Ask, Form};
use super::swarm::choice;
use super::words::submit;
use super::world::World;

/// Patterns of names that worlds know, and some that none has.
const PATTERNS: [&str; 9] = ["*", "a*", "*b*", "*bc", "bb", "abc", "a", "x*", "longer*others"];

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const ACTIONS: [Action; 9] = [
    Action::Cancel,
    Action::Hold,
    Action::Release,
    Action::Retry,
    Action::Run,
    Action::Delete,
    Action::Priority(Priority::High),
    Action::Priority(Priority::Normal),
    Action::Priority(Priority::Low),
];

impl World<'_> {
    /// An operator does something.
    pub(super) fn operate(&mut self) {
        match self.scene.rng.u8(0..12) {
            0..6 => self.control_any(),
            6..9 => {
                let pattern = choice(&mut self.scene.rng, &PATTERNS);
                let policy = (self.scene.rng.u8(0..4) > 0).then(|| policy(&mut self.scene.rng));
                self.set_policy(pattern, policy);
            }
            9 => self.stop_or_close(),
            _ => self.submit_on_terms(),
        }
    }

    /// Mostly a job that is there, in any state; gladly one that is over and whose result someone still waits for, which
    /// is rare.
    fn control_any(&mut self) {
        let rng = &mut self.scene.rng;
        let awaited = self.model.over.iter().filter(|job| !job.waiting.is_empty());
        let mut numbers: Vec<u64> = awaited.filter_map(|job| job.number).collect();
        if numbers.is_empty() || rng.bool() {
            let jobs = self.model.jobs.iter().chain(&self.model.over).filter_map(|job| job.number);
            numbers = jobs.collect();
            numbers.push(self.scene.swarm.first_number);
        }
        let number = choice(rng, &numbers);
        let action = choice(&mut self.scene.rng, &ACTIONS);
        self.control(number, action);
    }

    pub(super) fn control(&mut self, number: u64, action: Action) {
        let (now, job) = (self.scene.now, JobId(number));
        let before = self.seen.position();
        self.twin.set_clock(now);
        let done = self.twin.control(job, action, &mut self.seen);
        self.trace.line(|| format!("an operator: {action:?} of {number}: {done:?}"));
        let after = self.new_since(before);
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        self.model.control(now, number, action, &done, &mut self.seen);
        let (results, position) = self.broker.control(now, &[job], action);
        assert_eq!((results, position), (vec![done], after), "the broker does the same");
    }

    pub(super) fn set_policy(&mut self, pattern: &str, policy: Option<Policy>) {
        let now = self.scene.now;
        let before = self.seen.position();
        self.twin.set_clock(now);
        let done = self.twin.set_policy(pattern, policy.clone(), &mut self.seen).map(drop);
        self.trace.line(|| format!("an operator: policy for '{pattern}': {policy:?}: {done:?}"));
        let after = self.new_since(before);
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        self.model.set_policy(now, pattern, policy.clone(), done.clone(), &mut self.seen);
        let (told, position) = self.broker.set_policy(now, pattern, policy);
        assert_eq!((told.map(drop), position), (done, after), "the broker does the same");
    }

    fn stop_or_close(&mut self) {
        if self.seats.is_empty() {
            return;
        }
        let (now, conn) = (self.scene.now, self.seats[self.scene.rng.usize(0..self.seats.len())].wire.conn);
        let stops = self.scene.rng.u8(0..4) > 0;
        self.trace.line(|| format!("an operator: {conn} is {}", if stops { "to stop" } else { "closed" }));
        self.twin.set_clock(now);
        if stops {
            assert!(self.twin.stop_worker(conn, &mut self.seen));
        } else {
            assert!(self.twin.disconnect_peer(conn, &mut self.seen));
        }
        self.twin.settle(self.seen.durable());
        self.deliver(None);
        if stops {
            self.model.stop_worker(now, conn, &mut self.seen);
            assert!(self.broker.stop_worker(now, conn));
        } else {
            self.model.close_peer(now, conn, &mut self.seen);
            assert!(self.broker.disconnect(now, conn));
        }
    }

    /// A submit that asks for more than the protocol knows, on behalf of a connection.
    fn submit_on_terms(&mut self) {
        if self.seats.is_empty() || self.model.jobs.len() >= self.scene.swarm.jobs {
            return;
        }
        let seat = self.scene.rng.usize(0..self.seats.len());
        // What was said before is carried out before.
        let bytes = self.seats[seat].wire.on_the_way();
        self.arrive(seat, bytes);
        if self.seats[seat].wire.is_ended() || !self.seats[seat].wire.is_between() {
            return;
        }
        let rng = &mut self.scene.rng;
        let (priority, background) = (choice(rng, &Priority::ALL), rng.bool());
        let terms = terms(rng);
        let ask = submit(Form::Plain { priority, background }, &mut self.scene);
        let mut bytes = BytesMut::from(&ask.encode(false)[..]);
        let request = Codec::new(self.scene.swarm.max_frame).decode(&mut bytes);
        let (Ok(Some(Request::Submit(parsed))), Ask::Submit(meant)) = (request, &ask) else {
            panic!("a submit is understood");
        };
        let (now, conn) = (self.scene.now, self.seats[seat].wire.conn);
        self.trace.line(|| format!("{conn} > {ask} on {terms:?}"));
        self.seats[seat].peer.ledger.asks(&ask);
        self.twin.submit_on_terms(now, conn, parsed.clone(), terms.clone(), &mut self.seen);
        self.twin.settle(self.seen.durable());
        self.deliver(Some(conn));
        self.model.submit_on_terms(now, conn, meant, &terms, &mut self.seen);
        let outbox = self.seats[seat].wire.outbox.clone();
        self.broker.submit_on_terms(now, conn, &outbox, vec![(parsed, terms)]);
    }

    fn new_since(&self, before: RecordNo) -> RecordNo {
        Some(self.seen.position()).filter(|after| *after > before).unwrap_or(RecordNo::NONE)
    }

    /// Nothing keeps jobs back any more.
    pub(super) fn open_all(&mut self) {
        for function in self.scene.swarm.functions.clone() {
            let open = Policy {
                paused: Some(false),
                rate: Some(0.0),
                max_running: Some(0),
                retry_failed: Some(false),
                ..Policy::default()
            };
            let name = std::str::from_utf8(&function).expect("names here are text").to_owned();
            self.set_policy(&name, Some(open));
        }
        let held = self.model.jobs.iter().filter(|job| job.is_held());
        for number in held.filter_map(|job| job.number).collect::<Vec<_>>() {
            self.control(number, Action::Release);
        }
    }

    /// What is kept of jobs goes with time.
    pub(super) fn let_retire(&mut self) {
        while let Some(due) = self.model.over.iter().filter_map(|job| job.deadline()).min() {
            self.scene.now = due.max(self.scene.now);
            self.advance();
        }
    }
}

fn any<T: Clone>(rng: &mut Rng, from: &[T]) -> Option<T> {
    (rng.u8(0..6) == 0).then(|| choice(rng, from))
}

/// Each rule is left open mostly.
pub fn policy(rng: &mut Rng) -> Policy {
    let secs = Duration::from_secs;
    let short = [Duration::ZERO, Duration::from_millis(700), secs(1), secs(3), secs(100)];
    let kept = [Duration::ZERO, secs(2), secs(50), secs(20_000)];
    let counts = [0, 1, 2, 5, 100];
    Policy {
        attempts: any(rng, &[0, 1, 2, 3]),
        retry_failed: any(rng, &[true, true, false]),
        retry_timed_out: any(rng, &[true, false]),
        retry_lost: any(rng, &[true, false]),
        backoff: any(rng, &short),
        backoff_max: any(rng, &short),
        run_timeout: any(rng, &short),
        wait_timeout: any(rng, &short),
        lease: any(rng, &short),
        order: any(rng, &[Order::Fifo, Order::Lifo, Order::Lifo]),
        max_waiting: any(rng, &[0, 1, 3, 10]),
        max_waiting_bytes: any(rng, &[0, 20, 100]),
        max_running: any(rng, &[0, 1, 2]),
        rate: any(rng, &[0.0, 0.5, 1.0, 7.0]),
        burst: any(rng, &[0, 1, 2, 3]),
        paused: any(rng, &[true, false, false]),
        keep_succeeded: any(rng, &kept),
        keep_failed: any(rng, &kept),
        keep_cancelled: any(rng, &kept),
        keep_succeeded_count: any(rng, &counts),
        keep_failed_count: any(rng, &counts),
        keep_cancelled_count: any(rng, &counts),
        unique_window: any(rng, &kept),
    }
}

fn terms(rng: &mut Rng) -> Terms {
    let secs = Duration::from_secs;
    Terms {
        attempts: any(rng, &[0, 1, 2]),
        run_timeout: any(rng, &[Duration::ZERO, secs(1), secs(30)]),
        keep: any(rng, &[Duration::ZERO, secs(1), secs(5000)]),
        mime: any(rng, &["text/plain".to_owned()]),
        trace: any(rng, &[TRACE]).and_then(|trace| TraceContext::parse(trace, "")).map(Box::new),
    }
}
