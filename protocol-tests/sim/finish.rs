//! The end of a world: everything said is heard, everything begun is ended, and nothing is left.

use gearhouse::engine::Drain;
use gearhouse::protocol::{Flavor, Kind};

use super::ask::{Admin, Ask, Work};
use super::swarm::choice;
use super::world::World;

/// Far more rounds than any world needs.
const PATIENCE: usize = 10_000;

impl World<'_> {
    /// Brings the world to its end, one way or another.
    pub fn finish(&mut self) {
        self.settle();
        if self.model.draining.is_some() || self.scene.rng.u8(0..5) == 0 {
            self.stop_server();
        } else {
            self.do_all_that_is_left();
        }
    }

    /// All that was said arrives, all that was sent is read, and every connection got what it may count on.
    fn settle(&mut self) {
        for seat in (0..self.seats.len()).rev() {
            let bytes = self.seats[seat].wire.on_the_way();
            self.arrive(seat, bytes);
        }
        // Who turns out to be gone leaves something to read to others, and what comes of the store does too.
        let mut before = usize::MAX;
        while self.seats.len() < before {
            before = self.seats.len();
            self.calm();
            for _ in 0..2 {
                for seat in (0..self.seats.len()).rev() {
                    self.read(seat);
                }
            }
        }
        for seat in &mut self.seats {
            seat.peer.ledger.is_settled(self.model.awaited_by(seat.wire.conn));
        }
    }

    fn stop_server(&mut self) {
        if self.model.draining.is_none() {
            let drain = choice(&mut self.scene.rng, &[Drain::Running, Drain::Queued]);
            self.drain(drain);
        }
        for _ in 0..self.scene.rng.usize(0..20) {
            self.step();
        }
        self.settle();
        if self.model.draining.is_none() {
            // Its process crashed meanwhile, and the next one knows nothing of a stop: nobody asked it for one, also not
            // with what was still on its way.
            self.do_all_that_is_left();
            return;
        }
        self.end_all();
        self.settle();
        assert!(self.seats.is_empty(), "all connections are ended");
        self.check();
        self.compare();
        if self.keeper.is_some() {
            self.end_process();
            self.settle();
            self.do_all_that_is_left();
        }
    }

    /// No more trouble; after a failure only a new process helps.
    fn mend(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.disk.set_trouble(None);
        }
        if self.seen.has_failed() {
            self.end_process();
            self.settle();
        }
    }

    fn do_all_that_is_left(&mut self) {
        self.mend();
        for schedule in
            self.model.schedules.iter().map(|schedule| self.model.handle(schedule.number)).collect::<Vec<_>>()
        {
            self.as_newcomer(&[Ask::Admin(Admin::CancelJob(schedule.into()))]);
        }
        self.work_off();
        self.settle();
        self.let_retire();
        for seat in (0..self.seats.len()).rev() {
            self.hang_up(seat);
        }
        self.check();
        self.check_empty();
        self.drop_functions();
    }

    fn work_off(&mut self) {
        self.open_all();
        // Who holds a job leaves, so that it can be handed out; others may stay and hear of theirs.
        let all_leave = self.scene.rng.bool();
        for seat in (0..self.seats.len()).rev() {
            if all_leave || self.model.is_busy(self.seats[seat].wire.conn) {
                self.hang_up(seat);
            }
        }
        for _ in 0..PATIENCE {
            let Some(job) = self.model.jobs.iter().find(|job| job.is_ready()).or(self.model.jobs.first())
            else {
                break;
            };
            if job.is_ready() {
                let function = job.function.clone();
                self.as_newcomer(&[Ask::CanDo { function, milliseconds: None }, Ask::Grab(Flavor::All)]);
            } else {
                let due = self.model.next_due().expect("a job that is not ready will be");
                self.scene.now = due.max(self.scene.now);
                self.advance();
            }
        }
        assert!(self.model.jobs.is_empty(), "every job can be worked off");
    }

    /// Functions that were made or limited by hand are dropped; the others go by themselves.
    fn drop_functions(&mut self) {
        for name in self.model.functions.iter().map(|function| function.name.clone()).collect::<Vec<_>>() {
            if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
                self.as_newcomer(&[
                    Ask::Admin(Admin::MaxQueue(name.clone(), Vec::new())),
                    Ask::Admin(Admin::DropFunction(name)),
                ]);
            }
        }
        for name in self.model.operator_patterns() {
            self.set_policy(&name, None);
        }
        for _ in 0..PATIENCE {
            let Some(due) = self.next_deadline() else { break };
            self.scene.now = due.max(self.scene.now);
            self.advance();
        }
        assert_eq!(self.next_deadline(), None, "nothing is ever due again");
        assert!(self.model.functions.is_empty(), "no function is left");
        self.compare();
    }

    /// Someone comes, asks this, completes what it is handed, and leaves.
    fn as_newcomer(&mut self, asks: &[Ask]) {
        self.connect();
        let seat = self.seats.len() - 1;
        for ask in asks {
            // It may be cut when the store fails just now.
            if self.seats.len() > seat {
                self.ask(seat, ask.clone());
            }
        }
        while let Some(handle) = self.seats.get_mut(seat).and_then(|seat| seat.peer.take_held()) {
            let work = Work { kind: Kind::WorkComplete, handle, data: None, with_response_magic: false };
            self.ask(seat, Ask::Work(work));
        }
        if self.seats.len() > seat {
            self.hang_up(seat);
        }
    }

    fn ask(&mut self, seat: usize, ask: Ask) {
        self.seats[seat].peer.ledger.asks(&ask);
        self.seats[seat].wire.send(ask, false);
        let bytes = self.seats[seat].wire.on_the_way();
        self.arrive(seat, bytes);
        self.calm();
        self.read(seat);
    }
}
