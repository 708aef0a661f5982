//! A connection that asks.

use std::collections::VecDeque;
use std::time::Duration;

use super::book::Book;
use super::{Ask, LoadError, put, unexpected, wrong};
use crate::protocol::Kind;

#[derive(Debug)]
pub(super) struct Client {
    /// Number of the connection, by which its jobs know it.
    wire: usize,
    /// What the server has not answered at all: the job, and when it was begun.
    unanswered: VecDeque<(u64, Duration)>,
    /// Foreground jobs whose results are awaited.
    running: usize,
}

impl Client {
    pub fn new(wire: usize) -> Client {
        Client { wire, unanswered: VecDeque::new(), running: 0 }
    }

    /// Asks as often as the setup wants it at once.
    pub fn fill(&mut self, book: &mut Book, out: &mut Vec<u8>) {
        while self.unanswered.len() + self.running < book.setup.outstanding && book.may_ask() {
            book.allowed -= 1;
            self.ask(book, book.now, out);
        }
    }

    pub fn ask(&mut self, book: &mut Book, begun: Duration, out: &mut Vec<u8>) {
        book.tally.asked += 1;
        if book.setup.ask == Ask::Echo {
            self.unanswered.push_back((0, begun));
            return put(out, Kind::EchoReq, &[book.payload()]);
        }
        let job = book.submit(self.wire, begun);
        self.unanswered.push_back((job, begun));
        let is_awaited = book.setup.ask == Ask::Foreground;
        let kind = if is_awaited { Kind::SubmitJob } else { Kind::SubmitJobBg };
        put(out, kind, &[book.function(job).as_bytes(), book.unique(job).as_bytes(), book.payload()]);
    }

    pub fn receive(&mut self, book: &mut Book, kind: Kind, body: &[u8]) -> Result<(), LoadError> {
        match kind {
            Kind::EchoRes | Kind::JobCreated => {
                let Some((job, begun)) = self.unanswered.pop_front() else {
                    return Err(wrong("there are more answers than requests"));
                };
                match book.setup.ask {
                    Ask::Echo if kind == Kind::EchoRes && body == book.payload() => book.answered(begun),
                    Ask::Background if kind == Kind::JobCreated => {
                        book.created(job, body)?;
                        book.answered(begun);
                    }
                    Ask::Foreground if kind == Kind::JobCreated => {
                        book.created(job, body)?;
                        self.running += 1;
                    }
                    _ => return Err(unexpected(kind, body)),
                }
            }
            Kind::WorkComplete => {
                let mut arguments = body.splitn(2, |byte| *byte == 0);
                let handle = arguments.next().unwrap_or_default();
                let job = book.job(arguments.next().unwrap_or_default())?;
                let begun = book.completed(job, handle, self.wire)?;
                self.running = self.running.saturating_sub(1);
                book.answered(begun);
            }
            _ => return Err(unexpected(kind, body)),
        }
        Ok(())
    }
}
