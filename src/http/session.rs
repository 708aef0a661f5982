//! A connection of the broker that no socket stands behind: requests go in as everyone's do, and the packets that answer them
//! are read back here. So an answer is held until what it tells of is safe, as on every connection.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::Notify;

use crate::broker::{BATCH, Broker, Wait};
use crate::clock::Clock;
use crate::engine::view::JobRow;
use crate::outbox::{End, Outbox, Sink};
use crate::policy::Terms;
use crate::protocol::{Frame, Request, Submit, WriteBuf};
use crate::types::{ConnId, JobId, RecordNo};

/// Bytes that may lie here unread; what comes then waits in the outbox, which has a bound of its own.
const UNREAD: usize = 1 << 20;

/// The name that these connections go by in lists.
const CLIENT_ID: Bytes = Bytes::from_static(b"http");

/// The connection, for as long as this lives.
pub(super) struct Session {
    broker: Arc<Broker>,
    clock: Arc<Clock>,
    conn: ConnId,
    outbox: Arc<Outbox>,
    arrived: Arc<Arrived>,
    input: BytesMut,
    /// The record that what is held back waits for, as the log was told.
    asked: Option<RecordNo>,
}

/// What has left the outbox.
#[derive(Debug, Default)]
struct Arrived {
    bytes: Mutex<BytesMut>,
    more: Notify,
}

#[derive(Debug)]
struct Inlet(Arc<Arrived>);

impl Sink for Inlet {
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()> {
        let mut arrived = self.0.lock();
        while bytes.has_remaining() && arrived.len() < UNREAD {
            let chunk = bytes.chunk();
            let len = chunk.len();
            arrived.extend_from_slice(chunk);
            bytes.advance(len);
        }
        self.0.more.notify_one();
        if bytes.is_empty() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Arrived {
    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection ended from the server's side, for this reason.
#[derive(Debug)]
pub(super) struct Ended(pub &'static str);

impl Session {
    pub fn open(broker: Arc<Broker>, clock: Arc<Clock>, address: IpAddr) -> Self {
        let (conn, outbox) = broker.open_at(clock.now(), address);
        let arrived = Arc::<Arrived>::default();
        outbox.open(Box::new(Inlet(arrived.clone())));
        let session = Self { broker, clock, conn, outbox, arrived, input: BytesMut::new(), asked: None };
        session.apply(&mut vec![Request::SetClientId(CLIENT_ID)]);
        session
    }

    /// Carries out requests, in order. What others do may come between them.
    pub async fn send(&self, requests: impl IntoIterator<Item = Request>) {
        let mut requests = requests.into_iter();
        loop {
            let mut batch: Vec<Request> = requests.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            if !self.broker.has_room() {
                self.broker.room().await;
            }
            self.apply(&mut batch);
            tokio::task::yield_now().await;
        }
    }

    /// Submits jobs, in order. Of each: the least number that it has if it is new, see [`Broker::submit_on_terms`].
    pub async fn submit(&self, submits: impl IntoIterator<Item = (Submit, Terms)>) -> Vec<JobId> {
        let mut submits = submits.into_iter();
        let mut firsts = Vec::new();
        loop {
            let batch: Vec<(Submit, Terms)> = submits.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return firsts;
            }
            if !self.broker.has_room() {
                self.broker.room().await;
            }
            let count = batch.len();
            let first = self.broker.submit_on_terms(self.clock.now(), self.conn, &self.outbox, batch);
            firsts.extend(std::iter::repeat_n(first, count));
            tokio::task::yield_now().await;
        }
    }

    /// The number of a handle.
    pub fn number(&self, handle: &[u8]) -> Option<JobId> {
        self.broker.view(|engine| engine.parse_handle(handle))
    }

    /// A job as it stands, if it is known.
    pub fn job(&self, handle: &[u8]) -> Option<JobRow> {
        self.broker.view(|engine| engine.job_row(engine.parse_handle(handle)?))
    }

    /// The next packet that answers.
    pub async fn next(&mut self) -> Result<Frame, Ended> {
        loop {
            let unread = self.arrived.lock().split();
            self.input.unsplit(unread);
            if let Some(frame) = Frame::decode(&mut self.input).map_err(|_| Ended("the server failed"))? {
                return Ok(frame);
            }
            let flushed = self.outbox.flush(self.broker.durable());
            if !self.arrived.lock().is_empty() {
                continue;
            }
            if let Some(End::Close(reason) | End::Cut(reason)) = flushed.end {
                return Err(Ended(reason));
            }
            self.ask_to_be_told(flushed.held);
            tokio::select! {
                () = self.outbox.changed() => {}
                () = self.arrived.more.notified() => {}
            }
        }
    }

    fn apply(&self, batch: &mut Vec<Request>) {
        self.broker.apply(self.clock.now(), self.conn, &self.outbox, batch);
    }

    /// Something is held back until the log is safe up to this record. Asked once for each record.
    fn ask_to_be_told(&mut self, held: Option<RecordNo>) {
        if held == self.asked {
            return;
        }
        self.asked = held;
        let Some(record) = held else { return };
        match self.broker.wait_for(record, &self.outbox) {
            Wait::Noted => {}
            Wait::Over => self.outbox.tell(),
            Wait::Never => self.outbox.entry().end(End::Cut("the store failed before an answer was safe")),
        }
    }
}

impl Drop for Session {
    /// Also when the caller is gone: no job may wait for who waits no more.
    fn drop(&mut self) {
        self.broker.close(self.clock.now(), self.conn);
        self.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Seed, Settings};
    use crate::protocol::{Kind, Magic};

    fn session() -> Session {
        let seed = Seed { first_job: JobId(1), hash: 1 };
        let broker = Arc::new(Broker::new(Settings::default(), seed, 64 << 20));
        Session::open(broker, Arc::new(Clock::new()), [127, 0, 0, 1].into())
    }

    #[tokio::test]
    async fn every_request_is_answered_in_order_however_large_the_answers_are() {
        let mut session = session();
        let body = |index: u8| Bytes::from(vec![index; 300_000]);
        session.send((0..100).map(|index| Request::Echo(body(index)))).await;
        for index in 0..100 {
            let frame = session.next().await.unwrap();
            assert_eq!((frame.magic, frame.kind), (Magic::Response, Kind::EchoRes));
            assert_eq!(frame.body, body(index));
            assert!(session.arrived.lock().len() < UNREAD + 300_100);
        }
    }

    #[tokio::test]
    async fn it_is_told_when_the_server_ends_after_what_was_sent_before() {
        let mut session = session();
        session.send([Request::Echo(Bytes::from_static(b"x"))]).await;
        session.broker.end_all("the server ends");
        assert_eq!(session.next().await.unwrap().body, "x");
        assert_eq!(session.next().await.unwrap_err().0, "the server ends");
    }

    #[tokio::test]
    async fn nothing_of_it_stays_in_the_broker() {
        let session = session();
        let broker = session.broker.clone();
        assert_eq!(broker.connections(), 1);
        drop(session);
        assert_eq!(broker.connections(), 0);
        broker.check_empty();
    }
}
