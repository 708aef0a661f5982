//! A client that submits as fast as it is answered, one at a time or many in a row.

use std::collections::VecDeque;

use super::job::{Payload, Submit};
use super::load::{Answer, Event, FUNCTIONS, Part, payload, seconds};
use super::wire::{Conn, number};
use crate::support::kind;

/// Enough for one life: a backlog that grows without bound would make the looking slow, not the test better.
const MOST: usize = 2000;

pub fn play(mut part: Part) -> Vec<Event> {
    let mut events = Vec::new();
    while !part.is_stopped() && events.len() < MOST {
        let Some(mut conn) = Conn::open(part.address) else { return events };
        if !submit(&mut part, &mut conn, &mut events) {
            return events;
        }
    }
    events
}

/// Whether the server is still there.
fn submit(part: &mut Part, conn: &mut Conn, events: &mut Vec<Event>) -> bool {
    let window = *part.random.choice(&[1, 1, 4, 16, 64]).unwrap();
    let mut waiting = VecDeque::new();
    while !part.is_stopped() && events.len() < MOST {
        let mut packets = Vec::new();
        while waiting.len() < window {
            let submit = make(part);
            packets.extend(submit.packet());
            waiting.push_back(events.len());
            events.push(Event::Submitted(submit, Answer::None));
        }
        let sent = conn.send(&packets);
        // Also after a send that failed: answers that came before may be there to be read.
        let leaves = part.chance(3);
        let until = if sent && !leaves { window / 2 } else { 0 };
        if !read_answers(conn, events, &mut waiting, until) {
            return false;
        }
        if leaves {
            return true;
        }
    }
    read_answers(conn, events, &mut waiting, 0)
}

fn read_answers(conn: &mut Conn, events: &mut [Event], waiting: &mut VecDeque<usize>, until: usize) -> bool {
    while waiting.len() > until {
        let Some(frame) = conn.frame() else { return false };
        let said = match frame.kind {
            kind::JOB_CREATED => Answer::Yes(number(&frame.body)),
            kind::ERROR => Answer::No,
            // What comes of foreground jobs.
            kind::WORK_COMPLETE | kind::WORK_FAIL | kind::WORK_EXCEPTION | kind::WORK_DATA => continue,
            _ => panic!("a client was sent {frame:?}"),
        };
        let index = waiting.pop_front().unwrap();
        if let Event::Submitted(_, answer) = &mut events[index] {
            *answer = said;
        }
    }
    true
}

fn make(part: &mut Part) -> Submit {
    let kind = *part
        .random
        .choice(&[
            kind::SUBMIT_JOB_BG,
            kind::SUBMIT_JOB_BG,
            kind::SUBMIT_JOB_BG,
            kind::SUBMIT_JOB_HIGH_BG,
            kind::SUBMIT_JOB_LOW_BG,
            kind::SUBMIT_JOB_EPOCH,
            kind::SUBMIT_REDUCE_JOB_BACKGROUND,
            kind::SUBMIT_JOB,
            kind::SUBMIT_JOB_HIGH,
            kind::SUBMIT_JOB_LOW,
        ])
        .unwrap();
    let function = (*part.random.choice(&FUNCTIONS).unwrap()).to_owned();
    let token = part.next_token();
    let (unique, payload) = match part.random.u32(..100) {
        0..50 => (String::new(), payload(part)),
        // The same few in every function: submits of all connections and lives meet there, in the foreground too.
        50..75 => (format!("u{}", part.random.u32(..40)), payload(part)),
        75..85 => (format!("id-{token}"), payload(part)),
        85..95 => ("-".to_owned(), Payload::Shared(part.random.u8(..8))),
        _ => ("-".to_owned(), Payload::Empty),
    };
    let due = match kind {
        kind::SUBMIT_JOB_EPOCH => match part.random.u32(..10) {
            0 => 1,
            1..8 => seconds() + part.random.u64(0..4),
            _ => seconds() + 100_000,
        },
        _ => 0,
    };
    let reducer = if kind == kind::SUBMIT_REDUCE_JOB_BACKGROUND { "sum".to_owned() } else { String::new() };
    Submit { token, kind, function, unique, reducer, due, payload }
}
