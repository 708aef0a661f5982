//! The order of one connection's answers: what may leave, what is held back and why, what is to come.

use std::collections::VecDeque;

use crate::protocol::{Response, WriteBuf};
use crate::types::{JobId, RecordNo};

use super::End;

/// Answers in the order in which they must leave.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// May leave now.
    pub ready: WriteBuf,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// How the connection ends, once it is decided.
    pub end: Option<End>,
    /// While a list is told: what may leave after it.
    behind: Option<Box<WriteBuf>>,
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

impl Line {
    /// Appends an answer that may leave once the log is safe up to `after`.
    pub fn push(&mut self, after: RecordNo, durable: RecordNo, response: &Response<'_>) {
        self.release(durable);
        match self.held.back_mut() {
            None if after <= durable => response.encode(self.open()),
            Some(held) if held.after >= after => {
                let before = held.bytes.len();
                response.encode(&mut held.bytes);
                self.held_bytes += held.bytes.len() - before;
            }
            _ => {
                let mut bytes = WriteBuf::default();
                response.encode(&mut bytes);
                self.held_bytes += bytes.len();
                self.held.push_back(Held { after, awaits: None, bytes });
            }
        }
    }

    /// Keeps the place of an answer for this job.
    pub fn hold(&mut self, after: RecordNo, job: JobId) {
        self.held.push_back(Held { after, awaits: Some(job), bytes: WriteBuf::default() });
    }

    /// Gives the answer whose place was kept; whether there was one.
    pub fn fill(&mut self, job: JobId, response: &Response<'_>) -> bool {
        let Some(held) = self.held.iter_mut().find(|held| held.awaits == Some(job)) else { return false };
        held.awaits = None;
        let mut behind = std::mem::take(&mut held.bytes);
        response.encode(&mut held.bytes);
        self.held_bytes += held.bytes.len();
        held.bytes.append(&mut behind);
        true
    }

    /// Lets go what waited for no more than this.
    pub fn release(&mut self, durable: RecordNo) {
        let may_leave = |held: &mut Held| held.awaits.is_none() && held.after <= durable;
        while let Some(mut held) = self.held.pop_front_if(may_leave) {
            self.held_bytes -= held.bytes.len();
            self.open().append(&mut held.bytes);
        }
    }

    /// Whether an answer is held back.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// The record that the first of them waits for, if that is all it waits for.
    pub fn waits_for(&self) -> Option<RecordNo> {
        self.held.front().filter(|held| held.awaits.is_none()).map(|held| held.after)
    }

    /// Begins a list: what is put into `ready` from now on is it. Not while an answer is held back; whether it began.
    pub fn begin_list(&mut self) -> bool {
        if self.held.is_empty() {
            self.behind = Some(Box::default());
        }
        self.is_telling()
    }

    /// Whether a list is being told.
    pub fn is_telling(&self) -> bool {
        self.behind.is_some()
    }

    /// Ends a list.
    pub fn end_list(&mut self) {
        if let Some(mut behind) = self.behind.take() {
            self.ready.append(&mut behind);
        }
    }

    /// Nothing leaves any more.
    pub fn clear(&mut self) {
        self.ready = WriteBuf::default();
        self.behind = None;
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Bytes in it.
    pub fn bytes(&self) -> usize {
        self.ready.len() + self.behind.as_ref().map_or(0, |behind| behind.len()) + self.held_bytes
    }

    /// Where what may leave is put.
    fn open(&mut self) -> &mut WriteBuf {
        self.behind.as_deref_mut().unwrap_or(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Buf, Bytes};

    fn push(line: &mut Line, after: u64, durable: u64, text: &str) {
        line.push(RecordNo(after), RecordNo(durable), &Response::Text(text.as_bytes()));
    }

    fn taken(line: &mut Line, durable: u64) -> Bytes {
        line.release(RecordNo(durable));
        let len = line.ready.remaining();
        line.ready.copy_to_bytes(len)
    }

    #[test]
    fn an_answer_that_is_held_holds_all_behind_it() {
        let mut line = Line::default();
        push(&mut line, 0, 4, "a");
        push(&mut line, 5, 4, "b");
        push(&mut line, 0, 4, "c");
        push(&mut line, 7, 4, "d");
        push(&mut line, 6, 4, "e");
        assert_eq!(taken(&mut line, 4), "a");
        assert_eq!(taken(&mut line, 5), "bc");
        assert_eq!(taken(&mut line, 6), "");
        assert_eq!(taken(&mut line, 7), "de");
    }

    #[test]
    fn an_answer_that_is_still_to_come_holds_all_behind_it() {
        let mut line = Line::default();
        line.hold(RecordNo(3), JobId(7));
        push(&mut line, 0, 0, "b");
        assert_eq!(taken(&mut line, 9), "");
        assert_eq!((line.is_held(), line.waits_for()), (true, None));
        assert!(line.fill(JobId(7), &Response::Text(b"a")));
        assert_eq!(taken(&mut line, 2), "");
        assert_eq!(line.waits_for(), Some(RecordNo(3)));
        assert_eq!(taken(&mut line, 3), "ab");
    }

    #[test]
    fn nothing_comes_between_the_pieces_of_a_list() {
        let mut line = Line::default();
        push(&mut line, 0, 0, "before ");
        assert!(line.begin_list());
        line.ready.put_slice(b"one ");
        push(&mut line, 0, 0, "after ");
        push(&mut line, 1, 0, "held");
        line.release(RecordNo(1));
        line.ready.put_slice(b"two ");
        assert_eq!(taken(&mut line, 1), "before one two ");
        line.end_list();
        assert_eq!(taken(&mut line, 1), "after held");
    }

    #[test]
    fn a_list_waits_for_an_answer_that_is_held() {
        let mut line = Line::default();
        push(&mut line, 1, 0, "held");
        assert!(!line.begin_list());
    }
}
