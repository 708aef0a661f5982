//! A worker that grabs, ends, holds and drops jobs, and now and then submits one itself.

use std::time::Duration;

use super::job::{Payload, Submit, origin};
use super::load::{Answer, Event, FUNCTIONS, Part};
use super::wire::{Conn, Got, assigned, number};
use crate::support::kind;
use crate::support::peer::{Frame, request};

/// How long it sleeps before it looks again whether it is to end.
const NAP: Duration = Duration::from_millis(20);

pub fn play(mut part: Part) -> Vec<Event> {
    let mut events = Vec::new();
    while !part.is_stopped() {
        let Some(conn) = Conn::open(part.address) else { return events };
        let mut worker = Worker { conn, held: Vec::new(), unsealed: Vec::new() };
        if worker.work(&mut part, &mut events).is_none() {
            return events;
        }
    }
    events
}

struct Worker {
    conn: Conn,
    held: Vec<String>,
    /// Ends that nothing later was acknowledged after, as places among the events.
    unsealed: Vec<usize>,
}

/// `None`: the server is gone.
type Alive = Option<()>;

impl Worker {
    /// Works until it leaves.
    fn work(&mut self, part: &mut Part, events: &mut Vec<Event>) -> Alive {
        for function in FUNCTIONS {
            if part.chance(80) {
                self.send(kind::CAN_DO, function.as_bytes())?;
            }
        }
        let sloth = Duration::from_micros(part.random.u64(..1500));
        while !part.is_stopped() {
            let grabs = part.random.usize(1..8);
            let has_more = self.grab(grabs, events)?;
            self.end_some(part, events)?;
            if part.chance(15) {
                self.submit(part, events)?;
            }
            if part.chance(3) {
                if part.chance(50) {
                    // It leaves in the middle of a grab.
                    events.push(Event::Abandoned);
                    self.send(kind::GRAB_JOB_ALL, b"")?;
                }
                return Some(());
            }
            if has_more {
                std::thread::sleep(sloth);
            } else {
                self.sleep()?;
            }
        }
        Some(())
    }

    /// Whether there may be more.
    fn grab(&mut self, grabs: usize, events: &mut Vec<Event>) -> Option<bool> {
        let asked = events.len();
        events.extend((0..grabs).map(|_| Event::Abandoned));
        if !self.conn.send(&request(kind::GRAB_JOB_ALL, b"").repeat(grabs)) {
            return None;
        }
        let mut has_more = true;
        for index in 0..grabs {
            let frame = self.answer()?;
            match frame.kind {
                kind::NO_JOB => {
                    has_more = false;
                    events[asked + index] = Event::Nothing;
                }
                kind::JOB_ASSIGN_UNIQ | kind::JOB_ASSIGN_ALL => {
                    let job = assigned(&frame);
                    let origin = origin(&job).unwrap_or_else(|fault| panic!("{}: {fault}", job.handle));
                    events[asked + index] = Event::Taken(number(job.handle.as_bytes()), origin);
                    self.held.push(job.handle);
                }
                _ => panic!("a worker was sent {frame:?}"),
            }
        }
        Some(has_more)
    }

    fn end_some(&mut self, part: &mut Part, events: &mut Vec<Event>) -> Alive {
        let mut kept = Vec::new();
        for handle in std::mem::take(&mut self.held) {
            let (kind, rest): (u32, &[u8]) = match part.random.u32(..100) {
                0..60 => (kind::WORK_COMPLETE, b"\0done"),
                60..70 => (kind::WORK_FAIL, b""),
                70..75 => (kind::WORK_EXCEPTION, b"\0no"),
                _ => {
                    kept.push(handle);
                    continue;
                }
            };
            self.unsealed.push(events.len());
            events.push(Event::Ended { number: number(handle.as_bytes()), sealed: false });
            self.send(kind, &[handle.as_bytes(), rest].concat())?;
        }
        self.held = kept;
        Some(())
    }

    /// A new job in the background: its record comes after all that this connection said before. So once it is
    /// acknowledged, the ends that were sent before it are safe.
    fn submit(&mut self, part: &mut Part, events: &mut Vec<Event>) -> Alive {
        let submit = Submit {
            token: part.next_token(),
            kind: kind::SUBMIT_JOB_BG,
            function: FUNCTIONS[0].to_owned(),
            unique: String::new(),
            reducer: String::new(),
            due: 0,
            payload: Payload::Own(10),
        };
        let packet = submit.packet();
        let place = events.len();
        events.push(Event::Submitted(submit, Answer::None));
        if !self.conn.send(&packet) {
            return None;
        }
        let frame = self.answer()?;
        let said = match frame.kind {
            kind::JOB_CREATED => Answer::Yes(number(&frame.body)),
            kind::ERROR => Answer::No,
            _ => panic!("a worker that submits was sent {frame:?}"),
        };
        if let Event::Submitted(_, answer) = &mut events[place] {
            *answer = said;
        }
        if matches!(said, Answer::Yes(_)) {
            for index in self.unsealed.drain(..) {
                if let Event::Ended { sealed, .. } = &mut events[index] {
                    *sealed = true;
                }
            }
        }
        Some(())
    }

    fn sleep(&mut self) -> Alive {
        self.send(kind::PRE_SLEEP, b"")?;
        match self.conn.frame_within(NAP) {
            Got::It(frame) => assert!(frame.kind == kind::NOOP, "a sleeping worker was sent {frame:?}"),
            Got::Silence => {}
            Got::Gone => return None,
        }
        Some(())
    }

    /// The next packet but for wake-ups.
    fn answer(&mut self) -> Option<Frame> {
        loop {
            match self.conn.frame()? {
                frame if frame.kind == kind::NOOP => {}
                frame => return Some(frame),
            }
        }
    }

    fn send(&mut self, kind: u32, body: &[u8]) -> Alive {
        self.conn.send(&request(kind, body)).then_some(())
    }
}
