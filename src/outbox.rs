//! What is on its way to one connection: a line of answers, some of them held back until the log is safe.
//!
//! Order is part of the contract: libraries pair answers with requests by their position. So this is a line, not a
//! set: an answer that is held holds all behind it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::protocol::{Response, WriteBuf};
use crate::types::{JobId, RecordNo};

/// One connection's line.
#[derive(Debug)]
pub struct Outbox {
    line: Mutex<Line>,
    changed: Notify,
    cut: Notify,
    max_bytes: usize,
}

/// Where a line leaves to. Whoever holds it writes; so it is lent, and there is one.
pub trait Sink: Debug + Send {
    /// Writes all, or as much as the peer takes at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: the peer takes no more now. Any other: it is gone.
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()>;
}

#[derive(Debug, Default)]
struct Line {
    ready: WriteBuf,
    held: VecDeque<Held>,
    end: Option<End>,
    /// Whether it was noted that there is something to do here, since that was last done.
    is_told: bool,
    /// Not here while someone writes.
    sink: Option<Box<dyn Sink>>,
    /// The peer took no more: the connection's task waits until it does.
    is_full: bool,
    /// A list is being told: what others send waits in `behind`.
    is_telling: bool,
    behind: WriteBuf,
}

/// What [`Outbox::flush`] found beside what it wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    /// How the connection ends, when it is to end now.
    pub end: Option<End>,
    /// The record that the next stretch waits for. The task must ask to be told when the log has reached it.
    pub held: Option<RecordNo>,
    /// The peer takes no more now.
    pub is_full: bool,
}

/// A stretch of the line that may not leave yet.
#[derive(Debug)]
struct Held {
    /// The log must be safe up to here.
    after: RecordNo,
    /// The answer that this stretch begins with is still to come; it belongs to this job.
    awaits: Option<JobId>,
    bytes: WriteBuf,
}

/// What [`Outbox::take`] found beside what it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// How the connection ends, when it is to end now.
    pub end: Option<End>,
    /// The record that the next stretch waits for. The task must ask to be told when the log has reached it.
    pub held: Option<RecordNo>,
}

/// Why and how a connection ends from our side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// After what is in the line has left.
    Close(&'static str),
    /// At once.
    Cut(&'static str),
}

impl Outbox {
    /// An empty line. When more than `max_bytes` wait and still more comes, the connection is cut.
    pub fn new(max_bytes: usize) -> Self {
        Self { line: Mutex::default(), changed: Notify::new(), cut: Notify::new(), max_bytes }
    }

    /// Appends an answer that may leave once the log is safe up to `after`. Whether the connection's task must be
    /// told, by [`Outbox::tell`], after the caller has let go of its locks.
    pub fn push(&self, after: RecordNo, durable: RecordNo, response: &Response<'_>) -> bool {
        let mut line = self.lock();
        if line.end.is_some() {
            return false;
        }
        if line.bytes() > self.max_bytes {
            drop(line);
            self.end(End::Cut("it does not read what it is sent"));
            return false;
        }
        line.release(durable);
        match line.held.back_mut() {
            Some(held) if held.after >= after => response.encode(&mut held.bytes),
            None if after <= durable => response.encode(line.open()),
            _ => {
                let mut bytes = WriteBuf::default();
                response.encode(&mut bytes);
                line.held.push_back(Held { after, awaits: None, bytes });
            }
        }
        line.tell_once()
    }

    /// Keeps the place of an answer that is still to come, for this job; see [`crate::engine::Output::hold`].
    pub fn hold(&self, after: RecordNo, job: JobId) {
        let mut line = self.lock();
        if line.end.is_none() {
            line.held.push_back(Held { after, awaits: Some(job), bytes: WriteBuf::default() });
        }
    }

    /// Gives the answer whose place was kept. Whether the connection's task must be told.
    pub fn fill(&self, job: JobId, response: &Response<'_>) -> bool {
        let mut line = self.lock();
        let Some(held) = line.held.iter_mut().find(|held| held.awaits == Some(job)) else { return false };
        held.awaits = None;
        let mut behind = std::mem::take(&mut held.bytes);
        response.encode(&mut held.bytes);
        held.bytes.append(&mut behind);
        line.tell_once()
    }

    /// Moves all that may leave to the end of `into`.
    pub fn take(&self, durable: RecordNo, into: &mut WriteBuf) -> Taken {
        let mut line = self.lock();
        line.is_told = false;
        line.release(durable);
        into.append(&mut line.ready);
        let held = line.held.front().filter(|held| held.awaits.is_none()).map(|held| held.after);
        let end = match line.end {
            Some(End::Close(_)) if !line.held.is_empty() => None,
            end => end,
        };
        Taken { end, held }
    }

    /// Gives the line its way out.
    pub fn set_sink(&self, sink: Box<dyn Sink>) {
        self.lock().sink = Some(sink);
    }

    /// Takes the way out away: the connection is gone.
    pub fn drop_sink(&self) {
        let mut line = self.lock();
        line.end = Some(End::Cut("it is gone"));
        line.sink = None;
    }

    /// For who sent something to this connection, once the locks are free: writes it, or wakes the connection's task
    /// if there is more to it.
    pub fn attend(&self) {
        let mut line = self.lock();
        line.is_told = false;
        let is_plain = line.held.is_empty() && line.end.is_none() && !line.is_full && !line.is_telling;
        if is_plain {
            line = self.write(line);
        }
        if !is_plain || !line.held.is_empty() || line.end.is_some() || line.is_full || line.is_telling {
            drop(line);
            self.changed.notify_one();
        }
    }

    /// Writes all that may leave. For the connection's task only.
    pub fn flush(&self, durable: RecordNo) -> Flushed {
        let mut line = self.lock();
        (line.is_told, line.is_full) = (false, false);
        line.release(durable);
        line = self.write(line);
        let held = line.held.front().filter(|held| held.awaits.is_none()).map(|held| held.after);
        let end = match line.end {
            Some(End::Close(_)) if !line.held.is_empty() || !line.ready.is_empty() || line.sink.is_none() => None,
            end => end,
        };
        Flushed { end, held, is_full: line.is_full }
    }

    /// Begins a list: nothing comes between its pieces. Whether it could: not while an earlier answer is held.
    pub fn begin_list(&self, durable: RecordNo) -> bool {
        let mut line = self.lock();
        line.release(durable);
        line.is_telling = line.held.is_empty();
        line.is_telling
    }

    /// The next piece of a list.
    pub fn put_list(&self, piece: &Bytes) {
        self.lock().ready.put_shared(piece);
    }

    /// Ends a list.
    pub fn end_list(&self) {
        let mut line = self.lock();
        line.is_telling = false;
        let mut behind = std::mem::take(&mut line.behind);
        line.ready.append(&mut behind);
    }

    /// Writes what is ready, without the lock, until nothing is or the peer takes no more.
    fn write<'a>(&'a self, mut line: MutexGuard<'a, Line>) -> MutexGuard<'a, Line> {
        while !line.ready.is_empty() && !line.is_full {
            // Who has it looks again before it lets go.
            let Some(sink) = line.sink.take() else { break };
            let mut bytes = std::mem::take(&mut line.ready);
            drop(line);
            let written = sink.write(&mut bytes);
            bytes.release();
            line = self.lock();
            if let Err(error) = written {
                if error.kind() == io::ErrorKind::WouldBlock {
                    line.is_full = true;
                    bytes.append(&mut line.ready);
                    line.ready = bytes;
                } else {
                    line.end = Some(End::Cut("the connection broke"));
                }
            }
            if !matches!(line.end, Some(End::Cut(_))) {
                line.sink = Some(sink);
            }
        }
        line
    }

    /// Whether an answer is held back.
    pub fn is_held(&self) -> bool {
        !self.lock().held.is_empty()
    }

    /// Whether nothing waits, held or not.
    pub fn is_empty(&self) -> bool {
        let line = self.lock();
        line.ready.is_empty() && line.held.is_empty()
    }

    /// Ends the connection; the first call counts.
    pub fn end(&self, end: End) {
        let mut line = self.lock();
        match (line.end, end) {
            (None, _) | (Some(End::Close(_)), End::Cut(_)) => line.end = Some(end),
            _ => return,
        }
        if matches!(end, End::Cut(_)) {
            line.ready = WriteBuf::default();
            line.held.clear();
            self.cut.notify_one();
        }
        drop(line);
        self.changed.notify_one();
    }

    /// Wakes the connection's task.
    pub fn tell(&self) {
        self.changed.notify_one();
    }

    /// Waits until something changed since the last [`Outbox::take`].
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the connection was cut.
    pub async fn was_cut(&self) {
        self.cut.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // A panic while encoding leaves a line whose connection will notice a broken packet; others are unharmed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn bytes(&self) -> usize {
        self.ready.len() + self.behind.len() + self.held.iter().map(|held| held.bytes.len()).sum::<usize>()
    }

    /// Where what may leave is put.
    fn open(&mut self) -> &mut WriteBuf {
        if self.is_telling { &mut self.behind } else { &mut self.ready }
    }

    fn release(&mut self, durable: RecordNo) {
        let may_leave = |held: &mut Held| held.awaits.is_none() && held.after <= durable;
        while let Some(mut held) = self.held.pop_front_if(may_leave) {
            self.open().append(&mut held.bytes);
        }
    }

    fn tell_once(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Buf, Bytes};

    fn push(outbox: &Outbox, after: u64, durable: u64, text: &str) -> bool {
        outbox.push(RecordNo(after), RecordNo(durable), &Response::Text(text.as_bytes()))
    }

    fn taken(outbox: &Outbox, durable: u64) -> Bytes {
        let mut into = WriteBuf::default();
        outbox.take(RecordNo(durable), &mut into);
        into.copy_to_bytes(into.remaining())
    }

    #[test]
    fn an_answer_that_is_held_holds_all_behind_it() {
        let outbox = Outbox::new(1000);
        push(&outbox, 0, 4, "a");
        push(&outbox, 5, 4, "b");
        push(&outbox, 0, 4, "c");
        push(&outbox, 7, 4, "d");
        push(&outbox, 6, 4, "e");
        assert_eq!(taken(&outbox, 4), "a");
        assert_eq!(taken(&outbox, 5), "bc");
        assert_eq!(taken(&outbox, 6), "");
        assert_eq!(taken(&outbox, 7), "de");
    }

    #[test]
    fn an_answer_that_is_still_to_come_holds_all_behind_it() {
        let outbox = Outbox::new(1000);
        outbox.hold(RecordNo(3), JobId(7));
        push(&outbox, 0, 0, "b");
        assert_eq!(outbox.take(RecordNo(9), &mut WriteBuf::default()), Taken { end: None, held: None });
        outbox.fill(JobId(7), &Response::Text(b"a"));
        assert_eq!(taken(&outbox, 2), "");
        assert_eq!(taken(&outbox, 3), "ab");
    }

    #[test]
    fn an_end_does_not_wait_for_answers_that_came_after_it() {
        let outbox = Outbox::new(1000);
        outbox.end(End::Close("done"));
        outbox.hold(RecordNo(3), JobId(7));
        assert_eq!(outbox.take(RecordNo(0), &mut WriteBuf::default()).end, Some(End::Close("done")));
    }

    #[test]
    fn its_task_is_told_once_for_many_answers() {
        let outbox = Outbox::new(1000);
        assert_eq!([push(&outbox, 0, 0, "a"), push(&outbox, 0, 0, "b")], [true, false]);
        taken(&outbox, 0);
        assert!(push(&outbox, 0, 0, "c"));
    }

    #[test]
    fn a_line_may_pass_its_bound_once_and_is_cut_at_the_next() {
        let outbox = Outbox::new(3);
        push(&outbox, 0, 0, "a very long answer is let in");
        push(&outbox, 0, 0, "x");
        assert!(matches!(outbox.take(RecordNo(0), &mut WriteBuf::default()).end, Some(End::Cut(_))));
        assert_eq!(taken(&outbox, 0), "");
    }

    #[test]
    fn a_close_waits_for_what_is_held() {
        let outbox = Outbox::new(1000);
        push(&outbox, 2, 1, "last");
        outbox.end(End::Close("done"));
        assert_eq!(
            outbox.take(RecordNo(1), &mut WriteBuf::default()),
            Taken { end: None, held: Some(RecordNo(2)) }
        );
        let mut into = WriteBuf::default();
        assert_eq!(outbox.take(RecordNo(2), &mut into).end, Some(End::Close("done")));
        assert_eq!(into.chunk(), b"last");
    }
}
