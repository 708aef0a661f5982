//! An operator: limits, functions that stay, recurring jobs, and jobs that are cancelled.

use super::job::{Payload, Submit};
use super::load::{Answer, Event, Part, seconds};
use super::wire::{Conn, number};
use crate::support::kind;
use crate::support::peer::request;

/// Functions whose queues it limits. Nothing else is submitted to them but to see the limit.
pub const LIMITED: [&str; 3] = ["limited.a", "limited.b", "limited.c"];

/// Functions that it makes and drops.
pub const PINNED: [&str; 6] = ["made.0", "made.1", "made.2", "made.3", "made.4", "made.5"];

/// The function of recurring jobs.
pub const RECURRING: &str = "nightly";

/// The function of jobs that it submits for a far day and may cancel.
const FAR: &str = "far";

pub fn play(mut part: Part) -> Vec<Event> {
    let mut events = Vec::new();
    let Some(mut conn) = Conn::open(part.address) else { return events };
    // Those of earlier lives, and those of this one.
    let mut cancellable: Vec<String> = part.known.to_vec();
    part.random.shuffle(&mut cancellable);
    cancellable.truncate(10);
    // An operator does a few things, not thousands.
    for _ in 0..part.random.u32(..60) {
        if part.is_stopped() || act(&mut part, &mut conn, &mut events, &mut cancellable).is_none() {
            return events;
        }
    }
    events
}

fn act(
    part: &mut Part,
    conn: &mut Conn,
    events: &mut Vec<Event>,
    cancellable: &mut Vec<String>,
) -> Option<()> {
    let place = events.len();
    let (event, request) = match part.random.u32(..100) {
        0..20 => {
            let function = (*part.random.choice(&LIMITED).unwrap()).to_owned();
            let limit = part.random.u32(1..4);
            let line = format!("maxqueue {function} {limit}\n");
            (Event::Limited { function, limit, answer: Answer::None }, line.into_bytes())
        }
        20..45 => {
            let function = (*part.random.choice(&PINNED).unwrap()).to_owned();
            let made = part.chance(60);
            let line = format!("{} function {function}\n", if made { "create" } else { "drop" });
            (Event::Pinned { function, made, answer: Answer::None }, line.into_bytes())
        }
        45..60 => schedule(part),
        60..80 => {
            let submit = far_job(part);
            let packet = submit.packet();
            (Event::Submitted(submit, Answer::None), packet)
        }
        _ => {
            let Some(handle) = cancellable.pop() else { return Some(()) };
            let line = format!("cancel job {handle}\n");
            (Event::Cancelled(number(handle.as_bytes()), Answer::None), line.into_bytes())
        }
    };
    events.push(event);
    if !conn.send(&request) {
        return None;
    }
    let (said, handle) = answer(conn, request[0] == 0)?;
    let (Event::Limited { answer, .. }
    | Event::Pinned { answer, .. }
    | Event::Submitted(_, answer)
    | Event::Scheduled { answer, .. }
    | Event::Cancelled(_, answer)) = &mut events[place]
    else {
        unreachable!("an operator does nothing else")
    };
    *answer = said;
    if matches!(events[place], Event::Submitted(..)) {
        cancellable.extend(handle);
    }
    Some(())
}

fn answer(conn: &mut Conn, is_binary: bool) -> Option<(Answer, Option<String>)> {
    if !is_binary {
        let line = conn.line()?;
        let said = if line.starts_with("OK") { Answer::Yes(0) } else { Answer::No };
        return Some((said, None));
    }
    let frame = conn.frame()?;
    match frame.kind {
        kind::JOB_CREATED => {
            Some((Answer::Yes(number(&frame.body)), Some(String::from_utf8_lossy(&frame.body).into_owned())))
        }
        kind::ERROR => Some((Answer::No, None)),
        _ => panic!("an operator was sent {frame:?}"),
    }
}

/// A recurring job whose day does not come while the test runs: 29 February.
fn schedule(part: &mut Part) -> (Event, Vec<u8>) {
    let unique = format!("r{}", part.random.u32(..5));
    let minute = part.random.u32(..60).to_string();
    let fields = [&minute, "4", "29", "2", "*"].map(str::to_owned);
    let body = [RECURRING, &unique, &fields[0], &fields[1], &fields[2], &fields[3], &fields[4], "what to do"];
    let packet = request(kind::SUBMIT_JOB_SCHED, body.join("\0").as_bytes());
    (Event::Scheduled { unique, fields, answer: Answer::None }, packet)
}

fn far_job(part: &mut Part) -> Submit {
    Submit {
        token: part.next_token(),
        kind: kind::SUBMIT_JOB_EPOCH,
        function: FAR.to_owned(),
        unique: String::new(),
        reducer: String::new(),
        due: seconds() + 1_000_000,
        payload: Payload::Own(30),
    }
}
