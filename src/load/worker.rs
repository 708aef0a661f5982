//! A connection that does jobs: the result of each is its payload.

use std::collections::VecDeque;
use std::time::Duration;

use super::book::Book;
use super::{LoadError, put, unexpected, wrong};
use crate::protocol::Kind;

#[derive(Debug, Default)]
pub(super) struct Worker {
    is_introduced: bool,
    is_asleep: bool,
    /// When it asked for the jobs that have not come.
    grabs: VecDeque<Duration>,
}

impl Worker {
    pub fn is_introduced(&self) -> bool {
        self.is_introduced
    }

    pub fn is_asleep(&self) -> bool {
        self.is_asleep
    }

    pub fn is_idle(&self) -> bool {
        self.grabs.is_empty()
    }

    /// Says what it can do; the echo comes back when the server has heard it.
    pub fn introduce(&mut self, book: &Book, out: &mut Vec<u8>) {
        for function in &book.setup.functions {
            put(out, Kind::CanDo, &[function.as_bytes()]);
        }
        put(out, Kind::EchoReq, &[b"introduced"]);
    }

    /// Asks for as many jobs as the setup wants it at once.
    pub fn grab(&mut self, book: &mut Book, out: &mut Vec<u8>) {
        while !self.is_asleep && self.grabs.len() < book.setup.grabs && book.grabs_allowed > 0 {
            book.grabs_allowed -= 1;
            self.grabs.push_back(book.now);
            put(out, book.setup.grab, &[]);
        }
    }

    pub fn receive(
        &mut self,
        book: &mut Book,
        kind: Kind,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        match kind {
            Kind::JobAssign | Kind::JobAssignUniq => {
                let begun = self.take()?;
                book.grabbed(begun);
                self.work(book, kind, body, out)?;
                self.grab(book, out);
            }
            Kind::NoJob => {
                self.take()?;
                book.grabs_allowed = book.grabs_allowed.saturating_add(1);
                if self.grabs.is_empty() {
                    self.is_asleep = true;
                    put(out, Kind::PreSleep, &[]);
                }
            }
            Kind::Noop => {
                book.tally.noops += 1;
                self.is_asleep = false;
                self.grab(book, out);
            }
            Kind::EchoRes => self.is_introduced = true,
            _ => return Err(unexpected(kind, body)),
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Duration, LoadError> {
        self.grabs.pop_front().ok_or_else(|| wrong("a worker was answered that did not ask"))
    }

    fn work(&mut self, book: &mut Book, kind: Kind, body: &[u8], out: &mut Vec<u8>) -> Result<(), LoadError> {
        let has_unique = kind == Kind::JobAssignUniq;
        let mut arguments = body.splitn(kind.arguments(), |byte| *byte == 0);
        let mut next = || arguments.next().unwrap_or_default();
        let (handle, function) = (next(), next());
        let unique = if has_unique { Some(next()) } else { None };
        let payload = next();
        let job = book.job(payload)?;
        if function != book.function(job).as_bytes() {
            return Err(wrong(format!("job {job} came under the name of another function")));
        }
        if unique.is_some_and(|unique| unique != book.unique(job).as_bytes()) {
            return Err(wrong(format!("job {job} came with another unique id")));
        }
        book.worked(job, handle)?;
        put(out, Kind::WorkComplete, &[handle, payload]);
        Ok(())
    }
}
