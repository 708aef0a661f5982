//! What is on its way to one connection: a line of answers, some of them held back until the log is safe.
//!
//! Order is part of the contract: libraries pair answers with requests by their position. So this is a line, not a
//! set: an answer that is held holds all behind it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::protocol::{Response, WriteBuf};
use crate::types::RecordNo;

/// One connection's line.
#[derive(Debug)]
pub struct Outbox {
    line: Mutex<Line>,
    changed: Notify,
    cut: Notify,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Line {
    ready: WriteBuf,
    held: VecDeque<(RecordNo, WriteBuf)>,
    end: Option<End>,
    /// Whether the connection's task was told since it last took.
    is_told: bool,
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
            Some((record, held)) if *record >= after => response.encode(held),
            None if after <= durable => response.encode(&mut line.ready),
            _ => {
                let mut held = WriteBuf::default();
                response.encode(&mut held);
                line.held.push_back((after, held));
            }
        }
        line.tell_once()
    }

    /// Moves all that may leave to the end of `into`. Returns how the connection ends, when it is to end now.
    pub fn take(&self, durable: RecordNo, into: &mut WriteBuf) -> Option<End> {
        let mut line = self.lock();
        line.is_told = false;
        line.release(durable);
        into.append(&mut line.ready);
        match line.end {
            Some(End::Close(_)) if !line.held.is_empty() => None,
            end => end,
        }
    }

    /// Whether nothing waits, held or not.
    pub fn is_empty(&self) -> bool {
        self.lock().bytes() == 0
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
        self.ready.len() + self.held.iter().map(|(_, held)| held.len()).sum::<usize>()
    }

    fn release(&mut self, durable: RecordNo) {
        while let Some((_, mut held)) = self.held.pop_front_if(|(record, _)| *record <= durable) {
            self.ready.append(&mut held);
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
        assert!(matches!(outbox.take(RecordNo(0), &mut WriteBuf::default()), Some(End::Cut(_))));
        assert_eq!(taken(&outbox, 0), "");
    }

    #[test]
    fn a_close_waits_for_what_is_held() {
        let outbox = Outbox::new(1000);
        push(&outbox, 2, 1, "last");
        outbox.end(End::Close("done"));
        assert_eq!(outbox.take(RecordNo(1), &mut WriteBuf::default()), None);
        let mut into = WriteBuf::default();
        assert_eq!(outbox.take(RecordNo(2), &mut into), Some(End::Close("done")));
        assert_eq!(into.chunk(), b"last");
    }
}
