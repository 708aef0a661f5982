//! Payloads that are in memory only while there is room and they are likely to be taken soon.
//!
//! A surviving job that is submitted while memory is scarce loses its payload once the log is safe: the newest jobs,
//! at the tail of their queues. When a queue is served, the payloads of the jobs at its head are asked for ahead of
//! need, many in one read. A job that is handed out before its payload has come is answered when it comes.

use bytes::Bytes;

use super::job::Job;
use super::ready::Ready;
use super::{Engine, Load, Output, reply};
use crate::protocol::{Flavor, Handle, Kind, Parts, Response};
use crate::types::{ConnId, FunctionId, JobId, RecordNo};

/// Jobs at the head of a queue that are looked at for payloads to ask for.
const AHEAD: usize = 256;

/// Assignments between two looks.
const EVERY: u32 = 64;

/// Bytes of payloads asked for at one look, at most. A larger one is asked for when it is handed out.
const AHEAD_BYTES: u64 = 4 << 20;

/// Payloads dropped in one go.
const STEPS: usize = 256;

impl Engine {
    /// Answers a grab, now or when the payload has come, and not before the record of its start is safe, if there is one
    /// to wait for.
    pub(super) fn hand_out(
        &mut self,
        conn: ConnId,
        id: JobId,
        flavor: Flavor,
        started: RecordNo,
        out: &mut impl Output,
    ) {
        let Some(job) = self.jobs.get(id) else { return };
        if job.content.is_whole() {
            let (handle, parts) = (self.handle(id), self.parts(job));
            // No one was told of a job whose record is lost: it may run, or it would cost every worker its connection.
            let after = if out.is_lost(job.record) { RecordNo::NONE } else { job.record };
            out.send(conn, after.max(started), Response::Assign { flavor, handle, parts });
        } else if let Some(job) = self.jobs.get_mut(id) {
            job.owe(flavor);
            out.hold(conn, job.record.max(started), id);
            if !job.set_loading(true) {
                out.load(Load::Payload(id));
            }
        }
    }

    /// A payload that was asked for has come, with the whole body. `None`: it cannot be read; the job is set aside, its row stays where it
    /// is, and who waits is told.
    pub fn loaded(&mut self, id: JobId, body: Option<Bytes>, out: &mut impl Output) {
        let Some(job) = self.jobs.get_mut(id).filter(|job| job.is_loading()) else { return };
        job.set_loading(false);
        let name = &self.functions.get(job.function).name;
        let Some(content) = body.and_then(|body| job.content.with_body(name, body)) else {
            // Nothing is written of its end: a later start, or a salvage, finds it as it is.
            job.kept = false;
            if let Some(job) = self.remove_job(id, out) {
                self.tell_failed(id, job.waiting(), out);
            }
            return;
        };
        self.usage.remove(&job.content);
        self.usage.add(&content);
        job.content = content;
        if let Some((by, flavor)) = job.take_owed()
            && let Some(job) = self.jobs.get(id)
        {
            let (handle, parts) = (self.handle(id), self.parts(job));
            out.fill(by, id, Response::Assign { flavor, handle, parts });
        }
    }

    /// The result of a job that is over has come, for those who were answered with that job: `None`, it cannot be read;
    /// then the next submit with its unique id runs.
    pub fn result_loaded(&mut self, id: JobId, result: Option<Bytes>, out: &mut impl Output) {
        let over = self.jobs.get_mut(id).and_then(Job::over_mut);
        if !over.is_some_and(|over| std::mem::take(&mut over.is_loading)) {
            return;
        }
        let waiting = self.take_waiting(id);
        match result {
            Some(result) => {
                let body = completion(self.handle(id), &result);
                for conn in waiting {
                    reply(out, conn, Response::Work { kind: Kind::WorkComplete, body: &body });
                }
            }
            None => {
                self.stop_answering(id);
                self.tell_failed(id, &waiting, out);
            }
        }
    }

    /// Asks for payloads of the jobs that a function will hand out next.
    pub(super) fn prefetch(&mut self, function: FunctionId, out: &mut impl Output) {
        if self.usage.evicted == 0 {
            return;
        }
        let entry = self.functions.get_mut(function);
        if entry.until_prefetch > 0 {
            entry.until_prefetch -= 1;
            return;
        }
        entry.until_prefetch = EVERY;
        // Many functions may be served at once: what is read ahead for all of them must not fill the memory.
        let room = AHEAD_BYTES.min((self.settings.max_memory / 4 * 3).saturating_sub(self.usage.bytes));
        let mut bytes = 0;
        for (_, id) in entry.ready.iter().flat_map(Ready::iter).take(AHEAD) {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if job.content.is_whole() || job.is_loading() {
                continue;
            }
            bytes += u64::from(job.content.payload_len());
            if bytes > room {
                return;
            }
            job.set_loading(true);
            out.load(Load::Payload(id));
        }
    }

    /// Notes a job whose payload may go once the log is safe, if memory is scarce.
    pub(super) fn consider_eviction(&mut self, id: JobId, record: RecordNo) {
        if record != RecordNo::NONE && self.usage.bytes > self.settings.max_memory / 3 {
            self.to_evict.push_back((record, id));
        }
    }

    /// The log is safe up to here: payloads that were noted may go, a bounded number at a time. What coalesces by its
    /// payload keeps it.
    pub fn settle(&mut self, durable: RecordNo) {
        for _ in 0..STEPS {
            let Some((_, id)) = self.to_evict.pop_front_if(|(record, _)| *record <= durable) else { return };
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let is_evictable = job.content.is_whole() && job.content.unique() != b"-";
            if let Some(over) = job.over_mut()
                && over.answers_until.is_none()
                && over.result_record != RecordNo::NONE
                && over.result_record <= durable
                && let Some(result) = over.result.take()
            {
                self.usage.bytes -= result.len() as u64;
            }
            if is_evictable && !job.is_running() {
                self.usage.remove(&job.content);
                job.content = job.content.without_payload();
                self.usage.add(&job.content);
            }
        }
    }

    fn parts<'a>(&'a self, job: &'a Job) -> Parts<'a> {
        job.content.parts(&self.functions.get(job.function).name)
    }
}

/// The body of the WORK_COMPLETE that says once more how a job ended.
pub(super) fn completion(handle: Handle<'_>, result: &[u8]) -> Bytes {
    handle.with_bytes(|text| [text, b"\0", result].concat()).into()
}
