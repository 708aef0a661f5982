//! The loop of one connection: one read, one lock, one write.
//!
//! A read brings what the socket holds, often many packets; they are decoded and applied under one lock; the
//! answers, and what others sent meanwhile, leave in one vectored write at the end of the thread's turn
//! ([`crate::broker::turn`]). While a write is stuck nothing is read: a peer that does not listen is not listened to.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use tokio_util::codec::Decoder;

use super::input::{Input, READ};
use crate::broker::{BATCH, Broker, Wait, turn};
use crate::clock::Clock;
use crate::config::Limits;
use crate::engine::Lister;
use crate::outbox::{End, Outbox, Sink};
use crate::protocol::{Admin, Broken, Codec, Listing, Request, Response, WriteBuf};
use crate::types::{ConnId, RecordNo};

/// Rows of a list that are put together under one lock, and bytes that are worth a write.
struct Piece {
    rows: usize,
    bytes: usize,
}

/// What costs least, when others have been silent for a while.
const PIECE_AMONG_SILENT: Piece = Piece { rows: 250, bytes: 64 * 1024 };

/// What a job hardly notices, be it the server that is at it or the peer who reads it on the same machine.
const PIECE_AMONG_OTHERS: Piece = Piece { rows: 60, bytes: 8 * 1024 };

/// How often a list rests for others, a tenth of a second in all. What is left of it then is told without.
const MOST_RESTS: usize = 64;

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
///
/// The future is what an idle connection mostly consists of. What is rarely awaited in it is boxed there.
pub fn serve(
    stream: TcpStream,
    input: BytesMut,
    address: IpAddr,
    rules: Arc<Rules>,
) -> impl Future<Output = ()> + Send {
    let session = Session::open(address, rules);
    tracing::debug!(conn = %session.conn, %address, "connected");
    let (reader, writer) = stream.into_split();
    session.outbox.open(Box::new(Writer(writer)));
    let mut connection = Connection::new(reader, input, session);
    async move {
        let reason = connection.run().await;
        connection.note_end(address, reason);
    }
}

/// The engine's knowledge of a connection, for as long as this lives.
struct Session {
    conn: ConnId,
    outbox: Arc<Outbox>,
    rules: Arc<Rules>,
}

impl Session {
    fn open(address: IpAddr, rules: Arc<Rules>) -> Self {
        let (conn, outbox) = rules.broker.open_at(rules.clock.now(), address);
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
    /// Takes no more than its share at once: the thread has others to write to, who would wait for a large payload.
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()> {
        let mut share = turn::share(bytes.len());
        while bytes.has_remaining() {
            if share == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let chunk = bytes.chunk();
            let written = if chunk.len() == bytes.len() || chunk.len() >= share {
                self.0.try_write(&chunk[..chunk.len().min(share)])?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = bytes.chunks_within(share, &mut slices);
                self.0.try_write_vectored(&slices[..count])?
            };
            bytes.advance(written);
            share -= written;
        }
        Ok(())
    }
}

/// Parts of a line that leave in one write.
const SLICES: usize = 64;

/// What came of writing.
enum Flush {
    /// All that may leave has left.
    Done,
    /// The peer takes no more now, or has got its share.
    Full,
    /// The connection ends, for this reason.
    End(&'static str),
}

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
            match self.flush() {
                Flush::Done => {}
                Flush::Full => {
                    if let Some(reason) = Box::pin(self.drained()).await? {
                        return Ok(reason);
                    }
                }
                Flush::End(reason) => return Ok(reason),
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
            if !self.session.rules.broker.has_room() {
                Box::pin(self.session.rules.broker.room()).await;
            }
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
            if missing > READ {
                // There is more to come, and others who have small things to say.
                turn::pass().await;
            }
            if outbox.is_held() {
                return Ok(None);
            }
        }
    }

    /// Decodes and applies all whole requests that were read.
    async fn carry_out(&mut self) -> io::Result<()> {
        while let Some(listing) = self.carry_out_until_list() {
            Box::pin(self.tell_list(listing)).await?;
        }
        Ok(())
    }

    /// The same up to a list, which is told by a way of its own.
    fn carry_out_until_list(&mut self) -> Option<Listing> {
        let mut batch = SPARE.take();
        let listing = self.carry_out_with(&mut batch);
        batch.clear();
        SPARE.set(batch);
        listing
    }

    fn carry_out_with(&mut self, batch: &mut Vec<Request>) -> Option<Listing> {
        loop {
            match self.codec.decode(&mut self.input.bytes) {
                Ok(Some(Request::Admin(Admin::List(listing)))) => {
                    self.session.apply(batch);
                    self.began = None;
                    return Some(listing);
                }
                Ok(Some(request)) => batch.push(request),
                Ok(None) => break,
                Err(broken) => {
                    self.session.apply(batch);
                    self.refuse(&broken);
                    return None;
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
        None
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

    /// Tells a list in pieces, each written before the next. What others send to this connection waits meanwhile, so that
    /// nothing comes between the lines.
    ///
    /// No one waits for a list as they wait for a job: while others are heard its pieces are small, with a rest after
    /// each. A rest and not only a turn for each of the others, for each step of a job would else meet another piece.
    async fn tell_list(&mut self, listing: Listing) -> io::Result<()> {
        let outbox = self.session.outbox.clone();
        while !outbox.begin_list(self.session.rules.broker.durable()) {
            // An earlier answer is held back; the list may not overtake it.
            if self.drained().await?.is_some() {
                return Ok(());
            }
            outbox.changed().await;
        }
        let mut lister = Lister::new(listing);
        let mut rests = 0;
        loop {
            let must_rest = rests < MOST_RESTS && turn::is_among_others();
            let piece = if must_rest { PIECE_AMONG_OTHERS } else { PIECE_AMONG_SILENT };
            let (text, more) = self.put_together(&mut lister, piece).await;
            outbox.put_piece(&text.into());
            if !more {
                break;
            }
            if self.drained().await?.is_some() {
                return Ok(());
            }
            if must_rest {
                rests += 1;
                turn::rest().await;
            } else {
                turn::pass().await;
            }
        }
        outbox.end_list();
        // The last piece leaves with what is answered next.
        outbox.tell();
        Ok(())
    }

    /// The next piece of a list, and whether there is more. The lock is held for a few rows at a time.
    async fn put_together(&self, lister: &mut Lister, piece: Piece) -> (Vec<u8>, bool) {
        let mut text = Vec::with_capacity(piece.bytes);
        loop {
            let more = self.session.rules.broker.list(lister, piece.rows, &mut text);
            if !more || text.len() >= piece.bytes {
                return (text, more);
            }
            // What others were sent in this turn need not wait for the piece's end, nor their tasks.
            turn::pass().await;
        }
    }

    /// Writes what may leave, as far as the peer takes it now.
    fn flush(&mut self) -> Flush {
        let flushed = self.session.outbox.flush(self.session.rules.broker.durable());
        if let Some(End::Cut(reason) | End::Close(reason)) = flushed.end {
            return Flush::End(reason);
        }
        if flushed.is_full {
            return Flush::Full;
        }
        self.ask_to_be_told(flushed.held);
        Flush::Done
    }

    /// Writes all that may leave, however long the peer takes for it. Returns why the connection ends, if it is to end.
    async fn drained(&mut self) -> io::Result<Option<&'static str>> {
        loop {
            match self.flush() {
                Flush::Done => return Ok(None),
                Flush::Full => {}
                Flush::End(reason) => return Ok(Some(reason)),
            }
            tokio::select! {
                biased;
                writable = self.reader.as_ref().writable() => writable?,
                () = self.session.outbox.was_cut() => return Ok(Some("it does not read what it is sent")),
            }
            // Perhaps it was only its share that was written: now it is the others' turn.
            turn::pass().await;
        }
    }

    fn note_end(&self, address: IpAddr, reason: io::Result<&'static str>) {
        let conn = self.session.conn;
        match reason {
            Ok(reason) => tracing::debug!(%conn, %address, reason, "disconnected"),
            Err(error) => tracing::debug!(%conn, %address, reason = %error, "disconnected"),
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

/// Boxed, for mostly there is nothing to give up.
fn sleep_until(deadline: Option<Instant>) -> impl Future<Output = ()> {
    let mut sleep = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
    poll_fn(move |context| sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(context)))
}

/// Deadlines of a connection are tokio's, so that tests can pause them; they never reach the engine.
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Seed, Settings};
    use crate::types::JobId;

    #[tokio::test]
    async fn a_connection_that_only_waits_stays_small() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let broker = Broker::new(Settings::default(), Seed { first_job: JobId(1), hash: 7 }, 1000);
        let rules =
            Rules { broker: Arc::new(broker), clock: Arc::new(Clock::new()), limits: Limits::default() };
        let task = serve(stream, BytesMut::new(), IpAddr::from([127, 0, 0, 1]), Arc::new(rules));
        let (task, outbox) = (size_of_val(&task), size_of::<Outbox>());
        // With what tokio adds to a task it takes 512 bytes, and an outbox 256.
        assert!(task <= 400 && outbox <= 240, "a task of {task} bytes, an outbox of {outbox}");
    }
}
