//! The loop of one connection: one read, one lock, one write.
//!
//! A read brings what the socket holds, often many packets; they are decoded and applied under one lock; the
//! answers, and what others sent meanwhile, leave in one vectored write at the end of the thread's turn
//! ([`crate::broker::turn`]). While a write is stuck nothing is read: a peer that does not listen is not listened to.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::Decoder;

use super::input::Input;
use crate::broker::{BATCH, Broker, Wait, turn};
use crate::clock::Clock;
use crate::config::Limits;
use crate::engine::{Lister, PeerInfo};
use crate::outbox::{End, Outbox, Sink};
use crate::protocol::{Admin, Broken, Codec, Listing, Request, Response, WriteBuf};
use crate::types::{ConnId, RecordNo};

/// Rows of a list that are put together under one lock.
const ROWS: usize = 1000;

/// What a begun packet may take beyond [`Limits::frame_timeout`]: a second for so many bytes received.
const BYTES_A_SECOND: u64 = 64 * 1024;

thread_local! {
    /// Requests of a batch live for a moment only: one list does for all connections of a thread.
    static SPARE: Cell<Vec<Request>> = const { Cell::new(Vec::new()) };
}

/// What all connections share.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The queues.
    pub broker: Arc<Broker>,
    /// The time.
    pub clock: Arc<Clock>,
    /// Bounds on what a peer may do.
    pub limits: Limits,
}

/// Serves a connection until either side ends it. `input`: what was read of it already.
pub async fn serve(stream: TcpStream, input: BytesMut, peer: PeerInfo, rules: Rules) {
    let address = peer.address.clone();
    let session = Session::open(peer, rules);
    let conn = session.conn;
    tracing::debug!(%conn, %address, "connected");
    let (reader, writer) = stream.into_split();
    session.outbox.open(Box::new(Writer(writer)));
    let mut connection = Connection::new(reader, input, session);
    let reason = match connection.run().await {
        Ok(reason) => reason.to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::debug!(%conn, %address, reason, "disconnected");
}

/// The engine's knowledge of a connection, for as long as this lives.
struct Session {
    conn: ConnId,
    outbox: Arc<Outbox>,
    rules: Rules,
}

impl Session {
    fn open(peer: PeerInfo, rules: Rules) -> Self {
        let (conn, outbox) = rules.broker.open(peer);
        Self { conn, outbox, rules }
    }

    fn apply(&self, batch: &mut Vec<Request>) {
        if !batch.is_empty() {
            self.rules.broker.apply(self.rules.clock.now(), self.conn, &self.outbox, batch);
        }
    }
}

impl Drop for Session {
    /// Also when the task is cancelled: no job may stay with a connection that is gone.
    fn drop(&mut self) {
        self.rules.broker.close(self.rules.clock.now(), self.conn);
        self.outbox.close();
    }
}

/// The writing half of a socket.
#[derive(Debug)]
struct Writer(OwnedWriteHalf);

impl Sink for Writer {
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()> {
        while bytes.has_remaining() {
            let written = if bytes.chunk().len() == bytes.len() {
                self.0.try_write(bytes.chunk())?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = bytes.chunks_vectored(&mut slices);
                self.0.try_write_vectored(&slices[..count])?
            };
            bytes.advance(written);
        }
        Ok(())
    }
}

/// Parts of a line that leave in one write.
const SLICES: usize = 64;

struct Connection {
    // Before `reader`: fields are dropped in this order, and who sees the end of a connection is to see a server without it.
    session: Session,
    reader: OwnedReadHalf,
    codec: Codec,
    input: Input,
    /// The record that what is held back waits for, as the log was told.
    asked: Option<RecordNo>,
    /// Since when a packet is incomplete.
    began: Option<Instant>,
    /// When the peer last sent something, if there is a bound on its silence.
    heard: Instant,
}

impl Connection {
    fn new(reader: OwnedReadHalf, input: BytesMut, session: Session) -> Self {
        Self {
            reader,
            codec: Codec::new(session.rules.limits.max_frame),
            session,
            input: input.into(),
            asked: None,
            began: None,
            heard: now(),
        }
    }

    /// Returns why it ended.
    async fn run(&mut self) -> io::Result<&'static str> {
        if !self.input.bytes.is_empty() {
            self.carry_out().await?;
        }
        loop {
            if let Some(reason) = self.flush().await? {
                return Ok(reason);
            }
            if let Some(reason) = self.read().await? {
                return Ok(reason);
            }
        }
    }

    /// Reads and carries out, until this task must write. Mostly it need not: answers are written at the end of the
    /// thread's turn.
    async fn read(&mut self) -> io::Result<Option<&'static str>> {
        let outbox = self.session.outbox.clone();
        // One wish for all reads: to make it and to take it back costs more than much of what a read brings.
        let mut changed = pin!(outbox.changed());
        loop {
            self.session.rules.broker.room().await;
            let missing = self.codec.missing(self.input.bytes.len());
            let deadline = self.deadline();
            let read = tokio::select! {
                biased;
                () = &mut changed => return Ok(None),
                read = self.input.read(&mut self.reader, missing) => read?,
                () = sleep_until(deadline) => return Ok(Some("it was silent for too long")),
            };
            if read == 0 {
                return Ok(Some("the peer left"));
            }
            if self.session.rules.limits.idle_timeout.is_some() {
                self.heard = now();
            }
            self.carry_out().await?;
            if outbox.is_held() {
                return Ok(None);
            }
        }
    }

    /// Decodes and applies all whole requests that were read.
    async fn carry_out(&mut self) -> io::Result<()> {
        let mut batch = SPARE.take();
        let carried_out = self.carry_out_with(&mut batch).await;
        batch.clear();
        SPARE.set(batch);
        carried_out
    }

    async fn carry_out_with(&mut self, batch: &mut Vec<Request>) -> io::Result<()> {
        loop {
            match self.codec.decode(&mut self.input.bytes) {
                Ok(Some(Request::Admin(Admin::List(listing)))) => {
                    self.session.apply(batch);
                    self.tell_list(listing).await?;
                }
                Ok(Some(request)) => batch.push(request),
                Ok(None) => break,
                Err(broken) => {
                    self.session.apply(batch);
                    self.refuse(&broken);
                    return Ok(());
                }
            }
            // What is incomplete now is another packet than before.
            self.began = None;
            if batch.len() == BATCH {
                self.session.apply(batch);
            }
        }
        self.session.apply(batch);
        if self.codec.is_inside(self.input.bytes.len()) {
            self.began.get_or_insert_with(now);
        }
        self.input.settle();
        Ok(())
    }

    fn refuse(&mut self, broken: &Broken) {
        tracing::debug!(conn = %self.session.conn, "not understood: {broken}");
        let outbox = &self.session.outbox;
        if let Some(refusal) = broken.refusal() {
            let durable = self.session.rules.broker.durable();
            outbox.entry().push(RecordNo::NONE, durable, &Response::Error(&refusal));
        }
        outbox.entry().end(End::Close("it sent what is no packet"));
        self.input = Input::default();
    }

    /// Tells a list in pieces, each put together under a short lock and written before the next. What others send
    /// to this connection waits meanwhile, so that nothing comes between the lines.
    async fn tell_list(&mut self, listing: Listing) -> io::Result<()> {
        let outbox = self.session.outbox.clone();
        while !outbox.begin_list(self.session.rules.broker.durable()) {
            // An earlier answer is held back; the list may not overtake it.
            if self.flush().await?.is_some() {
                return Ok(());
            }
            outbox.changed().await;
        }
        let mut lister = Lister::new(listing);
        loop {
            let mut text = Vec::new();
            let more = self.session.rules.broker.list(&mut lister, ROWS, &mut text);
            outbox.put_piece(&text.into());
            if !more {
                break;
            }
            if self.flush().await?.is_some() {
                return Ok(());
            }
            // A long list is many turns: what others were sent in this one need not wait for its end, nor their tasks.
            turn::end();
            tokio::task::yield_now().await;
        }
        outbox.end_list();
        // The last piece leaves with what is answered next.
        outbox.tell();
        Ok(())
    }

    /// Writes all that may leave. Returns why the connection ends, if it is to end.
    async fn flush(&mut self) -> io::Result<Option<&'static str>> {
        loop {
            let flushed = self.session.outbox.flush(self.session.rules.broker.durable());
            if let Some(End::Cut(reason) | End::Close(reason)) = flushed.end {
                return Ok(Some(reason));
            }
            if !flushed.is_full {
                self.ask_to_be_told(flushed.held);
                return Ok(None);
            }
            tokio::select! {
                biased;
                writable = self.reader.as_ref().writable() => writable?,
                () = self.session.outbox.was_cut() => return Ok(Some("it does not read what it is sent")),
            }
        }
    }

    /// Something is held back until the log is safe up to this record. Asked once for each record.
    fn ask_to_be_told(&mut self, held: Option<RecordNo>) {
        if held == self.asked {
            return;
        }
        self.asked = held;
        let Some(record) = held else { return };
        let outbox = &self.session.outbox;
        match self.session.rules.broker.wait_for(record, outbox) {
            Wait::Noted => {}
            Wait::Over => outbox.tell(),
            Wait::Never => outbox.entry().end(End::Cut("the store failed before an answer was safe")),
        }
    }

    /// When to give up waiting for the peer.
    fn deadline(&self) -> Option<Instant> {
        let limits = &self.session.rules.limits;
        let frame = self.began.map(|began| {
            let received = Duration::from_secs(self.input.bytes.len() as u64 / BYTES_A_SECOND);
            began + limits.frame_timeout + received
        });
        let idle = limits.idle_timeout.map(|idle| self.heard + idle);
        [frame, idle].into_iter().flatten().min()
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        // Both forms of waiting in one; the inner future never ends.
        Some(deadline) => drop(timeout_at(deadline, std::future::pending::<()>()).await),
        None => std::future::pending().await,
    }
}

/// Deadlines of a connection are tokio's, so that tests can pause them; they never reach the engine.
fn now() -> Instant {
    Instant::now()
}
