//! What the twin engine did in answer to one request, for the model to compare with what it expects.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use gearhouse::engine::{Drain, Output, Record};
use gearhouse::protocol::{Kind, Refusal, Response, WriteBuf};
use gearhouse::types::{ConnId, JobId, RecordNo};

use super::item::Item;
use super::trace::shown;

/// The engine's only way out, recorded.
#[derive(Default)]
pub struct Seen {
    /// In the engine's order.
    pub events: Vec<Event>,
    pub shutdown: Option<Drain>,
    /// What a restart would bring back: numbers of jobs and recurring jobs.
    pub log: BTreeSet<u64>,
}

/// One thing that the engine did to a connection.
#[derive(Clone, Debug)]
pub enum Event {
    Sent(ConnId, Bytes),
    Closed(ConnId),
}

impl Output for Seen {
    /// As in the broker without a store, nothing is held back.
    fn persist(&mut self, record: Record<'_>) -> Result<RecordNo, Refusal> {
        match record {
            Record::Queued { id: JobId(number), .. } => {
                assert!(self.log.insert(number), "job {number} is put into the log once");
            }
            Record::Scheduled { id: JobId(number), .. } => {
                self.log.insert(number);
            }
            Record::Lost { id: JobId(number), .. } => {
                assert!(self.log.contains(&number), "the loss of {number} follows its beginning");
            }
            Record::Done(JobId(number)) | Record::Unscheduled(JobId(number)) => {
                assert!(self.log.remove(&number), "the end of {number} follows its beginning");
            }
            Record::Function { .. } => {}
        }
        Ok(RecordNo::NONE)
    }

    fn send(&mut self, to: ConnId, _after: RecordNo, response: Response<'_>) {
        let mut bytes = WriteBuf::default();
        response.encode(&mut bytes);
        let len = bytes.remaining();
        self.events.push(Event::Sent(to, bytes.copy_to_bytes(len)));
    }

    fn hold(&mut self, _: ConnId, _: RecordNo, job: JobId) {
        panic!("the payload of {job:?} is at hand");
    }

    fn fill(&mut self, _: ConnId, job: JobId, _: Response<'_>) {
        panic!("the payload of {job:?} is at hand");
    }

    fn load(&mut self, job: JobId) {
        panic!("the payload of {job:?} is at hand");
    }

    fn close(&mut self, conn: ConnId, _reason: &'static str) {
        self.events.push(Event::Closed(conn));
    }

    fn shutdown(&mut self, drain: Drain) {
        self.shutdown = Some(drain);
    }
}

impl Seen {
    /// Takes the next packet to this connection that is no NOOP.
    pub fn next(&mut self, conn: ConnId) -> (Kind, Bytes) {
        let bytes = self.next_bytes(conn, "a packet");
        match Item::first(&mut bytes.clone()) {
            Item::Packet { kind, body } => (kind, body),
            Item::Line(_) => panic!("{conn} is sent a packet and not text: {}", shown(&bytes)),
        }
    }

    /// Takes the next packet and compares it.
    pub fn packet(&mut self, conn: ConnId, kind: Kind, body: &[u8]) {
        let sent = self.next(conn);
        assert!(
            sent.0 == kind && sent.1 == body,
            "{conn} must be sent {} {} and was sent {} {}",
            kind.name(),
            shown(body),
            sent.0.name(),
            shown(&sent.1)
        );
    }

    /// Takes the next packet and sees that it is an ERROR with this code and some text.
    pub fn error(&mut self, conn: ConnId, code: &str) {
        let (kind, body) = self.next(conn);
        let is_it =
            kind == Kind::Error && body.starts_with(code.as_bytes()) && body.get(code.len()) == Some(&0);
        assert!(
            is_it && body.len() > code.len() + 1,
            "{conn} must be sent ERROR {code} and was sent {} {}",
            kind.name(),
            shown(&body)
        );
    }

    /// Takes the next answer and compares it with this text.
    pub fn text(&mut self, conn: ConnId, text: &[u8]) {
        let sent = self.next_bytes(conn, "text");
        assert!(
            sent == text,
            "{conn} must be told\n{}\nand was told\n{}",
            text.escape_ascii(),
            sent.escape_ascii()
        );
    }

    /// Takes the end of this connection.
    pub fn closed(&mut self, conn: ConnId) {
        let position = self.events.iter().position(|event| matches!(event, Event::Closed(to) if *to == conn));
        let position = position.unwrap_or_else(|| panic!("{conn} must be closed"));
        self.events.remove(position);
    }

    /// Takes all NOOPs; their receivers, in order.
    pub fn noops(&mut self) -> Vec<ConnId> {
        let mut called = Vec::new();
        self.events.retain(|event| match event {
            Event::Sent(to, bytes) if is_noop(bytes) => {
                assert_eq!(bytes.len(), 12, "a NOOP has no body");
                called.push(*to);
                false
            }
            _ => true,
        });
        called
    }

    /// Nothing happened but what was taken.
    pub fn nothing_else(&self) {
        let first = self.events.first().map(|event| match event {
            Event::Sent(to, bytes) => format!("{to} was sent {}", Item::first(&mut bytes.clone())),
            Event::Closed(conn) => format!("{conn} was closed"),
        });
        assert!(first.is_none(), "{}, which it must not be", first.unwrap_or_default());
    }

    fn next_bytes(&mut self, conn: ConnId, what: &str) -> Bytes {
        let is_next =
            |event: &Event| matches!(event, Event::Sent(to, bytes) if *to == conn && !is_noop(bytes));
        let position = self.events.iter().position(is_next);
        match position.map(|position| self.events.remove(position)) {
            Some(Event::Sent(_, bytes)) => bytes,
            _ => panic!("{conn} must be sent {what} and was sent nothing"),
        }
    }
}

fn is_noop(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && bytes[0] == 0 && bytes[4..8] == (Kind::Noop as u32).to_be_bytes()
}
