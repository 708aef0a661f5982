//! One connection between a peer and the server: bytes on their way in, cut anywhere; the real decoder and outbox;
//! and the bytes that must be on their way out.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::{Buf, Bytes, BytesMut};
use gearhouse::outbox::{End, Outbox, Sink};
use gearhouse::protocol::{Broken, Codec, Request, WriteBuf};
use gearhouse::types::{ConnId, RecordNo};
use tokio_util::codec::Decoder as _;

use super::ask::Ask;
use super::trace::shown;

/// The way out of an outbox: shut but for the moments in which the connection's task writes. So all that others put
/// there comes by that task, which must be told of it; and each world has it in its hands when bytes leave.
#[derive(Clone, Debug, Default)]
struct Gate(Arc<Mutex<Passage>>);

#[derive(Debug, Default)]
struct Passage {
    is_open: bool,
    passed: BytesMut,
}

impl Gate {
    fn through(&self) -> std::sync::MutexGuard<'_, Passage> {
        self.0.lock().expect("no panic under this lock")
    }
}

impl Sink for Gate {
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()> {
        let mut passage = self.through();
        if !passage.is_open {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = bytes.remaining();
        passage.passed.extend_from_slice(&bytes.copy_to_bytes(len));
        Ok(())
    }
}

pub struct Wire {
    pub conn: ConnId,
    pub outbox: Arc<Outbox>,
    gate: Gate,
    codec: Codec,
    /// Sent, and not yet at the server.
    pipe: BytesMut,
    /// At the server, and not yet decoded.
    input: BytesMut,
    /// Requests of which the server has not decoded all, and where in all that was sent they end.
    sent: VecDeque<(Ask, usize)>,
    sent_bytes: usize,
    arrived_bytes: usize,
    /// What the outbox must hold.
    due: VecDeque<Stretch>,
    /// The record that the front was held back for when the task last took, and whether it asked to be told of it;
    /// and what it asked before that.
    held: Option<RecordNo>,
    asked: Option<RecordNo>,
    noted: Option<RecordNo>,
    max_outbox: usize,
    end: Option<End>,
    /// Whether something came since the connection's task last took all there was, and whether that task was the
    /// cause: then it takes again by itself.
    is_fed: bool,
    is_busy: bool,
}

/// An answer in the line.
struct Stretch {
    after: RecordNo,
    /// It is still to come, and belongs to this job.
    awaits: Option<u64>,
    bytes: Bytes,
}

impl Wire {
    pub fn new(conn: ConnId, outbox: Arc<Outbox>, max_frame: u64, max_outbox: usize) -> Self {
        let gate = Gate::default();
        outbox.open(Box::new(gate.clone()));
        Self {
            conn,
            outbox,
            gate,
            codec: Codec::new(max_frame),
            pipe: BytesMut::new(),
            input: BytesMut::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            arrived_bytes: 0,
            due: VecDeque::new(),
            held: None,
            asked: None,
            noted: None,
            max_outbox,
            end: None,
            is_fed: false,
            is_busy: false,
        }
    }

    /// The peer sends a request.
    pub fn send(&mut self, ask: Ask, crlf: bool) {
        let bytes = ask.encode(crlf);
        self.pipe.extend_from_slice(&bytes);
        self.sent_bytes += bytes.len();
        self.sent.push_back((ask, self.sent_bytes));
    }

    /// The peer sends a part of a request, and never the rest.
    pub fn send_part(&mut self, part: &[u8]) {
        self.pipe.extend_from_slice(part);
        self.sent_bytes += part.len();
    }

    /// Bytes that have not arrived; none counts once the server listens no more.
    pub fn on_the_way(&self) -> usize {
        if self.end.is_some() { 0 } else { self.pipe.len() }
    }

    /// Whether no part of a request has arrived.
    pub fn is_between(&self) -> bool {
        self.input.is_empty() && self.pipe.is_empty() && self.sent.is_empty()
    }

    pub fn arrive(&mut self, count: usize) {
        self.input.extend_from_slice(&self.pipe.split_to(count));
        self.arrived_bytes += count;
    }

    /// The next request that has arrived.
    pub fn decode(&mut self) -> Result<Option<(Request, Ask)>, Broken> {
        match self.codec.decode(&mut self.input) {
            Ok(Some(request)) => {
                let (ask, _) = self.sent.pop_front().expect("a request was decoded that no one sent");
                Ok(Some((request, ask)))
            }
            Ok(None) => {
                let whole = self.sent.front().filter(|(_, end)| *end <= self.arrived_bytes);
                assert!(
                    whole.is_none(),
                    "{} has arrived and is not decoded",
                    whole.map(|(ask, _)| ask.to_string()).unwrap_or_default()
                );
                Ok(None)
            }
            Err(broken) => {
                let breaks = matches!(self.sent.front(), Some((Ask::Breaking { .. }, _)));
                assert!(breaks, "what was sent is understood: {broken}");
                Err(broken)
            }
        }
    }

    /// The server puts bytes into the outbox, that may leave when the log is safe up to `after`; `own`: as this
    /// connection's task.
    pub fn must_hold(&mut self, after: RecordNo, bytes: &Bytes, own: bool) {
        if self.end.is_some() {
            return;
        }
        if self.due.iter().map(|stretch| stretch.bytes.len()).sum::<usize>() > self.max_outbox {
            return self.must_end(End::Cut(""));
        }
        self.due.push_back(Stretch { after, awaits: None, bytes: bytes.clone() });
        self.is_fed = true;
        self.is_busy |= own;
    }

    /// The server keeps a place for an answer.
    pub fn must_keep_place(&mut self, after: RecordNo, job: u64) {
        if self.end.is_none() {
            self.due.push_back(Stretch { after, awaits: Some(job), bytes: Bytes::new() });
        }
    }

    /// The server puts the answer there.
    pub fn must_fill(&mut self, job: u64, bytes: &Bytes, own: bool) {
        let Some(stretch) = self.due.iter_mut().find(|stretch| stretch.awaits == Some(job)) else { return };
        (stretch.awaits, stretch.bytes) = (None, bytes.clone());
        self.is_fed = true;
        self.is_busy |= own;
    }

    /// Whether nothing is held back.
    pub fn is_free(&self, durable: RecordNo) -> bool {
        self.due.iter().all(|stretch| stretch.awaits.is_none() && stretch.after <= durable)
    }

    /// What the connection's task asks to be told of, if it has not yet.
    pub fn asks(&mut self) -> Option<RecordNo> {
        if self.held == self.asked {
            return None;
        }
        self.asked = self.held;
        self.held
    }

    /// It will be told.
    pub fn is_noted_now(&mut self) {
        self.noted = self.asked;
    }

    /// Whether it is to be told of something that is not safe yet.
    pub fn is_noted(&self, durable: RecordNo) -> bool {
        self.noted.is_some_and(|record| record > durable)
    }

    /// The server ends the connection.
    pub fn must_end(&mut self, end: End) {
        match (self.end, end) {
            (None, _) | (Some(End::Close(_)), End::Cut(_)) => self.end = Some(end),
            _ => return,
        }
        if matches!(end, End::Cut(_)) {
            self.due.clear();
        }
        self.is_fed = true;
    }

    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The connection's task takes all that may leave. Compares it with what must.
    pub fn take(&mut self, durable: RecordNo) -> Bytes {
        let mut due = BytesMut::new();
        let may_leave = |stretch: &mut Stretch| stretch.awaits.is_none() && stretch.after <= durable;
        while let Some(stretch) = self.due.pop_front_if(may_leave) {
            due.extend_from_slice(&stretch.bytes);
        }
        let ends_now = match self.end {
            Some(End::Close(_)) => self.due.is_empty(),
            end => end.is_some(),
        };
        let was_told = self.was_told();
        let is_needed = !due.is_empty() || (ends_now && self.is_fed);
        assert!(
            was_told || self.is_busy || !is_needed,
            "{} is told that there is something for it",
            self.conn
        );
        (self.is_fed, self.is_busy) = (false, false);
        self.gate.through().is_open = true;
        let found = self.outbox.flush(durable);
        assert!(!found.is_full, "{} takes all there is", self.conn);
        let mut passage = self.gate.through();
        passage.is_open = false;
        let taken = passage.passed.split().freeze();
        drop(passage);
        let differs = taken.iter().zip(&due).take_while(|(taken, due)| taken == due).count();
        assert!(
            taken == due,
            "{}: at byte {differs} what may leave was {} and must be {}",
            self.conn,
            shown(&taken[differs..]),
            shown(&due[differs..])
        );
        let kind = |end: Option<End>| end.map(|end| matches!(end, End::Cut(_)));
        assert_eq!(
            kind(found.end),
            kind(self.end.filter(|_| ends_now)),
            "{} is ended as it must be",
            self.conn
        );
        let front = self.due.front().filter(|stretch| stretch.awaits.is_none()).map(|stretch| stretch.after);
        assert_eq!(found.held, front, "{} is told what it waits for", self.conn);
        self.held = front;
        taken
    }

    /// Whether the connection is to end now, all having left.
    pub fn ends_now(&self) -> bool {
        match self.end {
            Some(End::Close(_)) => self.due.is_empty(),
            end => end.is_some(),
        }
    }

    /// Whether the connection's task would wake now; as it would, this forgets that it was told.
    fn was_told(&self) -> bool {
        let changed = pin!(self.outbox.changed());
        changed.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}
