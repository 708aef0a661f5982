//! What is on its way to one connection: a line of answers, some of them held back until the log is safe, and the way
//! out of it.
//!
//! Order is part of the contract: libraries pair answers with requests by their position. So this is a [`mod@line`], not a
//! set: an answer that is held holds all behind it. Whoever put something into it may also write it to the peer, so that
//! the connection's own task need not run for it; but one at a time, and that one looks again before it goes.

mod line;
mod signal;

use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use self::line::Line;
use self::signal::Signal;
use crate::protocol::{Response, WriteBuf};
use crate::types::{JobId, RecordNo};

/// One connection's line.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Signal,
    cut: Signal,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    line: Line,
    /// Lent to whoever writes.
    sink: Option<Box<dyn Sink>>,
    /// The peer took no more, and the connection's task waits until it does.
    is_full: bool,
    /// Whether someone knows already that there is something to do here.
    is_noted: bool,
}

/// The way to the peer.
pub trait Sink: Debug + Send {
    /// Writes all, or as much as the peer takes at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: it takes no more now. Any other: it is gone.
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()>;
}

/// The line, as long as one puts something into it: many answers under one lock.
#[derive(Debug)]
pub struct Entry<'a> {
    outbox: &'a Outbox,
    state: MutexGuard<'a, State>,
}

/// How a connection stands after [`Outbox::flush`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    /// How it ends, when it is to end now.
    pub end: Option<End>,
    /// The record that the next answer waits for. The task must ask to be told when the log has reached it.
    pub held: Option<RecordNo>,
    /// The peer takes no more now: to be tried again when it does.
    pub is_full: bool,
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
        Self { state: Mutex::default(), changed: Signal::default(), cut: Signal::default(), max_bytes }
    }

    /// Opens the way to the peer. Called once.
    pub fn open(&self, sink: Box<dyn Sink>) {
        self.lock().sink = Some(sink);
    }

    /// Closes it: the connection is gone.
    pub fn close(&self) {
        let mut state = self.lock();
        state.line.end = Some(End::Cut("it is gone"));
        state.line.clear();
        state.sink = None;
    }

    /// Opens the line to put something into it. Nothing leaves it meanwhile.
    pub fn entry(&self) -> Entry<'_> {
        Entry { outbox: self, state: self.lock() }
    }

    /// Writes what was put here, if nothing else is to be done; otherwise wakes the connection's task. For anyone who
    /// holds no lock.
    pub fn attend(&self) {
        let mut state = self.lock();
        state.is_noted = false;
        if !state.needs_its_task() {
            state = self.write(state);
        }
        if state.needs_its_task() {
            drop(state);
            self.tell();
        }
    }

    /// Writes all that may leave. For the connection's task.
    pub fn flush(&self, durable: RecordNo) -> Flushed {
        let mut state = self.lock();
        (state.is_noted, state.is_full) = (false, false);
        state.line.release(durable);
        state = self.write(state);
        let end = match state.line.end {
            Some(End::Close(_)) if state.line.bytes() > 0 || state.line.is_held() => None,
            // Someone else writes the last of it, and wakes the task then.
            Some(End::Close(_)) if state.sink.is_none() => None,
            end => end,
        };
        Flushed { end, held: state.line.waits_for(), is_full: state.is_full }
    }

    /// Begins a list, which is told in pieces with nothing between them. Whether it began: not while an earlier answer
    /// is held back.
    pub fn begin_list(&self, durable: RecordNo) -> bool {
        let mut state = self.lock();
        state.line.release(durable);
        state.line.begin_list()
    }

    /// Appends a piece of a list. For the connection's task, which flushes it.
    pub fn put_piece(&self, piece: &Bytes) {
        self.lock().line.ready.put_shared(piece);
    }

    /// Ends a list.
    pub fn end_list(&self) {
        self.lock().line.end_list();
    }

    /// Whether an answer is held back.
    pub fn is_held(&self) -> bool {
        self.lock().line.is_held()
    }

    /// Bytes in the line.
    pub fn bytes(&self) -> usize {
        self.lock().line.bytes()
    }

    /// Wakes the connection's task.
    pub fn tell(&self) {
        self.changed.set();
    }

    /// Waits until the task was woken since it last waited.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changed.seen()
    }

    /// Waits until the connection was cut.
    pub fn was_cut(&self) -> impl Future<Output = ()> {
        self.cut.seen()
    }

    /// Writes what may leave, without the lock, until nothing may or the peer takes no more.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while !state.line.ready.is_empty() && !state.is_full {
            let Some(sink) = state.sink.take() else { break };
            let mut bytes = std::mem::take(&mut state.line.ready);
            drop(state);
            let written = sink.write(&mut bytes);
            state = self.lock();
            match written {
                Ok(()) => bytes.release(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.is_full = true;
                    bytes.append(&mut state.line.ready);
                    state.line.ready = bytes;
                }
                Err(_) => state.line.end = Some(End::Cut("the connection broke")),
            }
            if matches!(state.line.end, Some(End::Cut(_))) {
                // Nothing is written any more, and the socket is free to go.
                state.line.clear();
                break;
            }
            state.sink = Some(sink);
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while encoding leaves a line whose connection will notice a broken packet; others are unharmed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    /// Appends an answer that may leave once the log is safe up to `after`. Whether the caller must see to it that
    /// [`Outbox::attend`] is called, after it has let go of its locks.
    pub fn push(&mut self, after: RecordNo, durable: RecordNo, response: &Response<'_>) -> bool {
        if self.state.line.end.is_some() {
            return false;
        }
        if self.state.line.bytes() > self.outbox.max_bytes {
            self.end(End::Cut("it does not read what it is sent"));
            return false;
        }
        self.state.line.push(after, durable, response);
        self.state.note_once()
    }

    /// Keeps the place of an answer that is still to come, for this job; see [`crate::engine::Output::hold`].
    pub fn hold(&mut self, after: RecordNo, job: JobId) {
        if self.state.line.end.is_none() {
            self.state.line.hold(after, job);
        }
    }

    /// Gives the answer whose place was kept. As [`Entry::push`], whether it must be attended to.
    pub fn fill(&mut self, job: JobId, response: &Response<'_>) -> bool {
        self.state.line.fill(job, response) && self.state.note_once()
    }

    /// Ends the connection; the first call counts.
    pub fn end(&mut self, end: End) {
        match (self.state.line.end, end) {
            (None, _) | (Some(End::Close(_)), End::Cut(_)) => self.state.line.end = Some(end),
            _ => return,
        }
        if matches!(end, End::Cut(_)) {
            self.state.line.clear();
            self.outbox.cut.set();
        }
        self.outbox.tell();
    }
}

impl State {
    /// Whether there is more to do than to write.
    fn needs_its_task(&self) -> bool {
        self.is_full || self.line.is_held() || self.line.is_telling() || self.line.end.is_some()
    }

    fn note_once(&mut self) -> bool {
        !std::mem::replace(&mut self.is_noted, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use std::sync::Arc;

    /// A peer that takes so many bytes.
    #[derive(Clone, Debug, Default)]
    struct Peer(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Sink for Peer {
        fn write(&self, bytes: &mut WriteBuf) -> io::Result<()> {
            let mut peer = self.0.lock().unwrap();
            let count = bytes.len().min(peer.1);
            peer.0.extend_from_slice(&bytes.copy_to_bytes(count));
            peer.1 -= count;
            if bytes.is_empty() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        }
    }

    impl Peer {
        fn takes(&self, count: usize) {
            self.0.lock().unwrap().1 = count;
        }

        fn got(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap().0)).unwrap()
        }
    }

    fn outbox(max_bytes: usize) -> (Outbox, Peer) {
        let (outbox, peer) = (Outbox::new(max_bytes), Peer::default());
        outbox.open(Box::new(peer.clone()));
        peer.takes(usize::MAX);
        (outbox, peer)
    }

    fn push(outbox: &Outbox, after: u64, text: &str) -> bool {
        outbox.entry().push(RecordNo(after), RecordNo::NONE, &Response::Text(text.as_bytes()))
    }

    fn is_told(outbox: &Outbox) -> bool {
        let changed = std::pin::pin!(outbox.changed());
        changed.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn one_of_many_who_put_something_here_attends_to_it() {
        let (outbox, peer) = outbox(1000);
        assert_eq!([push(&outbox, 0, "a"), push(&outbox, 0, "b")], [true, false]);
        outbox.attend();
        assert_eq!((peer.got().as_str(), is_told(&outbox)), ("ab", false));
        assert!(push(&outbox, 0, "c"));
    }

    #[test]
    fn the_task_is_told_of_what_cannot_leave_now() {
        let (outbox, peer) = outbox(1000);
        peer.takes(2);
        push(&outbox, 0, "abc");
        outbox.attend();
        assert!(is_told(&outbox));
        assert!(outbox.flush(RecordNo::NONE).is_full);
        push(&outbox, 0, "d");
        peer.takes(9);
        outbox.attend();
        assert_eq!((peer.got().as_str(), is_told(&outbox)), ("ab", true));
        assert_eq!(outbox.flush(RecordNo::NONE), Flushed { end: None, held: None, is_full: false });
        assert_eq!(peer.got(), "cd");
    }

    #[test]
    fn the_task_is_told_of_what_is_held_back() {
        let (outbox, peer) = outbox(1000);
        push(&outbox, 0, "a");
        push(&outbox, 2, "b");
        outbox.attend();
        assert!(is_told(&outbox));
        assert_eq!(outbox.flush(RecordNo(1)).held, Some(RecordNo(2)));
        assert_eq!(peer.got(), "a");
        assert_eq!(outbox.flush(RecordNo(2)).held, None);
        assert_eq!(peer.got(), "b");
    }

    #[test]
    fn a_line_may_pass_its_bound_once_and_is_cut_at_the_next() {
        let (outbox, peer) = outbox(3);
        push(&outbox, 0, "a very long answer is let in");
        push(&outbox, 0, "x");
        assert!(matches!(outbox.flush(RecordNo::NONE).end, Some(End::Cut(_))));
        assert_eq!(peer.got(), "");
    }

    #[test]
    fn a_close_waits_for_what_is_held_and_for_what_does_not_fit() {
        let (outbox, peer) = outbox(1000);
        push(&outbox, 2, "last");
        outbox.entry().end(End::Close("done"));
        assert_eq!(outbox.flush(RecordNo(1)), Flushed { end: None, held: Some(RecordNo(2)), is_full: false });
        peer.takes(1);
        assert_eq!(outbox.flush(RecordNo(2)), Flushed { end: None, held: None, is_full: true });
        peer.takes(9);
        assert_eq!(outbox.flush(RecordNo(2)).end, Some(End::Close("done")));
        assert_eq!(peer.got(), "last");
    }

    #[test]
    fn an_end_does_not_wait_for_answers_that_came_after_it() {
        let (outbox, _) = outbox(1000);
        outbox.entry().end(End::Close("done"));
        outbox.entry().hold(RecordNo(3), JobId(7));
        assert_eq!(outbox.flush(RecordNo(0)).end, Some(End::Close("done")));
    }

    #[test]
    fn nothing_is_written_after_the_connection_is_gone() {
        let (outbox, peer) = outbox(1000);
        push(&outbox, 0, "a");
        outbox.close();
        outbox.attend();
        assert!(!push(&outbox, 0, "b"));
        assert_eq!((peer.got().as_str(), Arc::strong_count(&peer.0)), ("", 1));
    }
}
