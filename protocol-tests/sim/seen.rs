//! What the twin engine did in answer to one request, for the model to compare with what it expects.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use gearhouse::engine::{Drain, Load, Note, Output, Reach, Record, Standing, What};
use gearhouse::protocol::{Kind, Refusal, Response, WriteBuf};
use gearhouse::types::{ConnId, JobId, RecordNo, Timestamp};

use super::disk::Fault;
use super::item::Item;
use super::model::Job;
use super::trace::shown;

/// The engine's only way out, recorded.
#[derive(Default)]
pub struct Seen {
    /// In the engine's order.
    pub events: Vec<Event>,
    pub shutdown: Option<Drain>,
    /// What a restart would bring back: numbers of jobs and recurring jobs, and the last record that made each.
    pub log: BTreeMap<u64, u64>,
    /// What the request under way put into the log, be it over already.
    made: BTreeMap<u64, u64>,
    /// What the log says of each job.
    standings: BTreeMap<u64, Standing>,
    /// Results that the request under way put there, with the records.
    results: BTreeMap<u64, (u64, Bytes)>,
    /// What was said of jobs, and whether someone listens to all that happens to them.
    notes: Vec<Note>,
    /// The serial number of the last thing that was said when it happened.
    serial: u64,
    /// Jobs of which more was written than what their workers said, so that all of their lives must be.
    noted: BTreeSet<u64>,
    pub is_watched: bool,
    /// Jobs that it put there, and their bodies.
    pub queued: Vec<(u64, Bytes)>,
    /// The last record, the last one before the request under way, and the last that is told to be safe.
    pub last: u64,
    before: u64,
    pub durable: u64,
    pub fault: Fault,
    has_store: bool,
    /// Payloads and results that were asked for and have not come.
    loads: BTreeSet<Load>,
    /// Up to where the log must be safe before what was taken last may leave.
    after: u64,
}

/// One thing that the engine did to a connection.
#[derive(Clone, Debug)]
pub enum Event {
    /// An answer, and the record before which it may not leave.
    Sent(ConnId, u64, Bytes),
    /// The place of an answer, the record before which that may not leave, and its job.
    Held(ConnId, u64, u64),
    /// The answer for such a place.
    Filled(ConnId, u64, Bytes),
    Closed(ConnId),
}

impl Output for Seen {
    /// As the log does; without a store nothing is held back.
    fn persist(&mut self, record: Record<'_>) -> Result<RecordNo, Refusal> {
        let is_end = match &record {
            Record::Stands { .. } | Record::Done(_) | Record::Unscheduled(_) => true,
            Record::Policy { policy, .. } => policy.is_none(),
            Record::Function { limits, pinned, .. } => *limits == [None; 3] && !pinned,
            Record::Queued { .. } | Record::Result { .. } | Record::Scheduled { .. } => false,
        };
        match self.fault {
            Fault::Failed => return Err(Refusal::STORE_FAILED),
            Fault::Full if !is_end => return Err(Refusal::DISK_FULL),
            _ => {}
        }
        let number = if self.has_store { self.last + 1 } else { 0 };
        match record {
            Record::Queued { id: JobId(id), standing, spec, .. } => {
                assert!(self.log.insert(id, number).is_none(), "job {id} is put into the log once");
                self.made.insert(id, number);
                self.standings.insert(id, standing);
                self.queued.push((id, spec.body().clone()));
            }
            Record::Scheduled { id: JobId(id), .. } => {
                self.log.insert(id, number);
            }
            Record::Stands { id: JobId(id), standing } => {
                let before = self.standings.insert(id, standing);
                assert!(before.is_some(), "what becomes of {id} follows its beginning");
            }
            Record::Result { id: JobId(id), body } => {
                assert!(self.log.contains_key(&id), "the result of {id} follows its beginning");
                self.results.insert(id, (number, body));
            }
            Record::Policy { .. } => {}
            Record::Done(JobId(id)) | Record::Unscheduled(JobId(id)) => {
                self.standings.remove(&id);
                assert!(self.log.remove(&id).is_some(), "the end of {id} follows its beginning");
            }
            Record::Function { .. } => {}
        }
        self.last = self.last.max(number);
        Ok(RecordNo(number))
    }

    fn position(&self) -> RecordNo {
        RecordNo(self.last)
    }

    fn is_watched(&self) -> bool {
        self.is_watched
    }

    fn note(&mut self, note: Note) {
        let is_old = note.reach == Reach::Log && !matches!(note.what, What::Progress(_));
        assert!(is_old || note.serial > self.serial, "{note:?} has a number after {}", self.serial);
        assert!(note.serial >= note.at.as_micros(), "{note:?} has a number after its moment");
        self.serial = self.serial.max(note.serial);
        if note.reach == Reach::All
            && !matches!(note.what, What::Data(_) | What::Warning(_) | What::Progress(_))
        {
            self.noted.insert(note.job.0);
        }
        self.notes.push(note);
    }

    fn readiness(&self) -> Result<(), Refusal> {
        match self.fault {
            Fault::None => Ok(()),
            Fault::Full => Err(Refusal::DISK_FULL),
            Fault::Failed => Err(Refusal::STORE_FAILED),
        }
    }

    fn is_lost(&self, record: RecordNo) -> bool {
        self.fault == Fault::Failed && record > self.durable()
    }

    fn send(&mut self, to: ConnId, after: RecordNo, response: Response<'_>) {
        self.events.push(Event::Sent(to, after.0, encoded(&response)));
    }

    fn hold(&mut self, to: ConnId, after: RecordNo, job: JobId) {
        self.events.push(Event::Held(to, after.0, job.0));
    }

    fn fill(&mut self, to: ConnId, job: JobId, response: Response<'_>) {
        self.events.push(Event::Filled(to, job.0, encoded(&response)));
    }

    fn load(&mut self, what: Load) {
        assert!(self.loads.insert(what), "{what:?} is asked for once");
    }

    fn close(&mut self, conn: ConnId, _reason: &'static str) {
        self.events.push(Event::Closed(conn));
    }

    fn shutdown(&mut self, drain: Drain) {
        self.shutdown = Some(drain);
    }
}

fn encoded(response: &Response<'_>) -> Bytes {
    let mut bytes = WriteBuf::default();
    response.encode(&mut bytes);
    let len = bytes.remaining();
    bytes.copy_to_bytes(len)
}

impl Seen {
    /// With a store that brought these back.
    pub fn with_store(records: &[Record<'static>], is_watched: bool) -> Self {
        let standing = |record: &Record<'static>| match record {
            Record::Queued { id, standing, .. } => Some((id.0, *standing)),
            _ => None,
        };
        let number = |record: &Record<'static>| match record {
            Record::Queued { id, .. } | Record::Scheduled { id, .. } => Some((id.0, 0)),
            _ => None,
        };
        let standings: BTreeMap<u64, Standing> = records.iter().filter_map(standing).collect();
        let has_run = |standing: &Standing| standing.attempts > 0 || standing.first_start.is_some();
        let ran = standings.iter().filter(|(_, standing)| has_run(standing));
        Self {
            has_store: true,
            noted: ran.map(|(id, _)| *id).collect(),
            log: records.iter().filter_map(number).collect(),
            standings,
            is_watched,
            ..Self::default()
        }
    }

    pub fn has_store(&self) -> bool {
        self.has_store
    }

    /// The record that the request under way made; 0 if it made none.
    pub fn new_record(&self) -> u64 {
        if self.last > self.before { self.last } else { 0 }
    }

    /// Whether what must be kept cannot be.
    pub fn keeps_nothing(&self) -> bool {
        self.fault != Fault::None
    }

    /// Whether not even an end can be.
    pub fn has_failed(&self) -> bool {
        self.fault == Fault::Failed
    }

    pub fn durable(&self) -> RecordNo {
        RecordNo(self.durable)
    }

    /// The record of a job or recurring job that is in the log, or was put there just now.
    pub fn record_of(&self, number: u64) -> u64 {
        let record = self.log.get(&number).or_else(|| self.made.get(&number));
        *record.unwrap_or_else(|| panic!("{number} is put into the log"))
    }

    /// What the log says of a job.
    pub fn standing(&self, number: u64) -> Standing {
        *self.standings.get(&number).unwrap_or_else(|| panic!("{number} is in the log"))
    }

    /// The result that was put into the log just now, and its record.
    pub fn result_of(&mut self, number: u64) -> (u64, Bytes) {
        self.results.remove(&number).unwrap_or_else(|| panic!("the result of {number} is put into the log"))
    }

    /// Takes what is said next of a job.
    pub fn next_note(&mut self, at: Timestamp, reach: Reach, job: &Job) -> Note {
        let number = job.number.expect("it was named");
        let position = self.notes.iter().position(|note| note.job.0 == number);
        let position = position.unwrap_or_else(|| panic!("something must be said of {number}"));
        self.take_note(position, at, reach, job)
    }

    /// Whether the log has more of a job than what its workers said.
    pub fn is_noted(&self, job: &Job) -> bool {
        job.number.is_some_and(|number| self.noted.contains(&number))
    }

    /// Takes what is said of the beginning of a job whose number is not known yet.
    pub fn take_submitted(&mut self, now: Timestamp, job: &Job) {
        let is_it = |note: &Note| note.what == What::Submitted && note.function == job.function;
        let position = self.notes.iter().position(is_it).expect("a job that was submitted is told of");
        self.take_note(position, now, Reach::Watchers, job);
    }

    fn take_note(&mut self, position: usize, at: Timestamp, reach: Reach, job: &Job) -> Note {
        let note = self.notes.remove(position);
        let told = (note.at, note.reach, &note.function, note.kept);
        assert_eq!(
            told,
            (at, reach, &job.function, job.kept),
            "when, to whom, of what function, whether it is kept: {note:?}"
        );
        note
    }

    /// Whether this is said next of a job.
    pub fn has_note(&self, number: u64, what: &What) -> bool {
        self.notes.iter().find(|note| note.job.0 == number).is_some_and(|note| note.what == *what)
    }

    /// A payload or result has come.
    pub fn comes(&mut self, what: Load) {
        assert!(self.loads.remove(&what), "{what:?} was asked for");
    }

    pub fn all_came(&self) {
        assert!(self.loads.is_empty(), "{:?} never came", self.loads);
    }

    /// Takes the next packet to this connection that is no NOOP.
    pub fn next(&mut self, conn: ConnId) -> (Kind, Bytes) {
        let bytes = self.next_bytes(conn, "a packet");
        self.as_packet(conn, bytes)
    }

    fn as_packet(&self, conn: ConnId, bytes: Bytes) -> (Kind, Bytes) {
        match Item::first(&mut bytes.clone()) {
            Item::Packet { kind, body } => (kind, body),
            Item::Line(_) => panic!("{conn} is sent a packet and not text: {}", shown(&bytes)),
        }
    }

    /// What was taken last may leave when this record is safe, not before it and no later.
    pub fn depends_on(&self, record: u64) {
        if record > self.durable {
            assert_eq!(self.after, record, "an answer is held until its record is safe, and no longer");
        } else {
            self.depends_on_nothing();
        }
    }

    /// What was taken last is not held back.
    pub fn depends_on_nothing(&self) {
        assert!(
            self.after <= self.durable,
            "an answer waits for {}, safe is {}, and it need not",
            self.after,
            self.durable
        );
    }

    /// Takes the next packet and compares it; it depends on no record.
    pub fn packet(&mut self, conn: ConnId, kind: Kind, body: &[u8]) {
        self.packet_after(conn, 0, kind, body);
    }

    /// The same for a packet that depends on this record.
    pub fn packet_after(&mut self, conn: ConnId, record: u64, kind: Kind, body: &[u8]) {
        let sent = self.next(conn);
        assert!(
            sent.0 == kind && sent.1 == body,
            "{conn} must be sent {} {} and was sent {} {}",
            kind.name(),
            shown(body),
            sent.0.name(),
            shown(&sent.1)
        );
        self.depends_on(record);
    }

    fn peek(&self, conn: ConnId) -> Option<&Bytes> {
        self.events.iter().find_map(|event| match event {
            Event::Sent(to, _, bytes) if *to == conn && !is_noop(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// Whether there is another packet to this connection.
    pub fn has_packet(&self, conn: ConnId) -> bool {
        self.peek(conn).is_some()
    }

    /// Whether the next packet to this connection is the ERROR of a full memory.
    pub fn is_full(&self, conn: ConnId) -> bool {
        self.peek(conn).is_some_and(|bytes| bytes.ends_with(Refusal::MEMORY_FULL.text.as_bytes()))
    }

    /// Takes the place of an answer to this connection, if one was kept; the number of its job.
    pub fn held(&mut self, conn: ConnId) -> Option<u64> {
        let position =
            self.events.iter().position(|event| matches!(event, Event::Held(to, ..) if *to == conn))?;
        let Event::Held(_, after, number) = self.events.remove(position) else { return None };
        self.after = after;
        Some(number)
    }

    /// Takes the answer for such a place.
    pub fn filled(&mut self, conn: ConnId, number: u64) -> (Kind, Bytes) {
        let is_it =
            |event: &Event| matches!(event, Event::Filled(to, job, _) if (*to, *job) == (conn, number));
        let position = self.events.iter().position(is_it);
        match position.map(|position| self.events.remove(position)) {
            Some(Event::Filled(_, _, bytes)) => self.as_packet(conn, bytes),
            _ => panic!("{conn} waits for the payload of {number} and must be answered"),
        }
    }

    /// Takes a job with this body out of those that were queued; whether there was one.
    pub fn take_queued(&mut self, body: &[u8]) -> bool {
        let position = self.queued.iter().position(|(_, queued)| queued == body);
        position.map(|position| self.queued.remove(position)).is_some()
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
        self.depends_on_nothing();
    }

    /// Takes the next answer and compares it with this text; it depends on this record.
    pub fn text(&mut self, conn: ConnId, record: u64, text: &[u8]) {
        let sent = self.next_bytes(conn, "text");
        assert!(
            sent == text,
            "{conn} must be told\n{}\nand was told\n{}",
            text.escape_ascii(),
            sent.escape_ascii()
        );
        self.depends_on(record);
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
        let durable = self.durable;
        self.events.retain(|event| match event {
            Event::Sent(to, after, bytes) if is_noop(bytes) => {
                assert_eq!(bytes.len(), 12, "a NOOP has no body");
                assert!(*after <= durable, "a NOOP is not held back");
                called.push(*to);
                false
            }
            _ => true,
        });
        called
    }

    /// Nothing happened but what was taken.
    pub fn nothing_else(&mut self) {
        self.queued.clear();
        self.made.clear();
        assert!(self.notes.is_empty(), "said, and it must not be: {:?}", self.notes);
        assert!(self.results.is_empty(), "results were written that need not be: {:?}", self.results);
        self.before = self.last;
        let first = self.events.first().map(|event| match event {
            Event::Sent(to, _, bytes) => format!("{to} was sent {}", Item::first(&mut bytes.clone())),
            Event::Held(to, _, job) => format!("{to} is to be sent {job} later"),
            Event::Filled(to, job, bytes) => {
                format!("{to} was sent {} for {job}", Item::first(&mut bytes.clone()))
            }
            Event::Closed(conn) => format!("{conn} was closed"),
        });
        assert!(first.is_none(), "{}, which it must not be", first.unwrap_or_default());
    }

    fn next_bytes(&mut self, conn: ConnId, what: &str) -> Bytes {
        let is_next =
            |event: &Event| matches!(event, Event::Sent(to, _, bytes) if *to == conn && !is_noop(bytes));
        let position = self.events.iter().position(is_next);
        match position.map(|position| self.events.remove(position)) {
            Some(Event::Sent(_, after, bytes)) => {
                self.after = after;
                bytes
            }
            _ => panic!("{conn} must be sent {what} and was sent nothing"),
        }
    }
}

fn is_noop(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && bytes[0] == 0 && bytes[4..8] == (Kind::Noop as u32).to_be_bytes()
}
