//! The text protocol's answers (reference, section 4). Lists are sorted, so that two of them can be compared.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;

use super::job::Job;
use super::peer::Peer;
use super::unique::Key;
use super::{Action, Deed, Drain, Engine, Output, Record, Retirement, Undone, reply};
use crate::protocol::{Admin, Handle, Listing, MaxQueue, Refusal, Response};
use crate::types::{ConnId, JobId, Printable, Priority, RecordNo};

const HELP: &str = "\
status                            functions: name, jobs, running, workers\n\
prioritystatus                    functions: name, waiting high, normal, low, workers\n\
workers                           connections: number, address, id, functions\n\
show jobs                         jobs: handle, times put back, 0, whether in the background\n\
show unique jobs                  unique ids of jobs\n\
show unique FUNCTION UNIQUE       one job by its unique id: handle, state, done, of, waiting clients\n\
show schedules                    recurring jobs: handle, function, unique id, cron fields, next time\n\
cancel job HANDLE                 ends a job, or a recurring job\n\
create function FUNCTION          makes a function that stays until it is dropped\n\
drop function FUNCTION            removes a function without jobs and workers\n\
maxqueue FUNCTION [N | H N [L]]   limits the jobs of a function, for all priorities or each; none: no limit\n\
ready                             whether the server takes all that is asked of it: OK, or ERR and why not\n\
version, verbose, getpid          about the server\n\
shutdown [graceful]               ends the server; graceful: when no job is left\n\
.\n";

impl Engine {
    pub(super) fn admin(&mut self, conn: ConnId, admin: Admin, out: &mut impl Output) {
        let change = to_change(&admin);
        let answer = match admin {
            Admin::List(listing) => {
                let mut text = Vec::new();
                let mut lister = Lister::new(listing);
                while self.list(&mut lister, usize::MAX, &mut text) {}
                return reply(out, conn, Response::Text(&text));
            }
            Admin::Help => HELP.into(),
            Admin::Version => format!("OK {}\n", self.settings.version).into(),
            Admin::Verbose => format!("OK {}\n", self.settings.verbose).into(),
            Admin::GetPid => format!("OK {}\n", self.settings.pid).into(),
            Admin::Ready => self.ready(out).into(),
            Admin::MaxQueue { function, limits } => self.max_queue(&function, limits, out),
            Admin::CreateFunction(function) => self.create_function(&function, out),
            Admin::DropFunction(function) => self.drop_function(&function, out),
            Admin::CancelJob(handle) => self.cancel(&handle, out),
            Admin::ShowUnique { function, unique } => self.show_unique(&function, &unique).into(),
            Admin::Shutdown { drain } => self.shut_down(conn, drain, out),
            Admin::Incomplete(command) => format!(
                "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+{command}\r\n"
            )
            .into(),
            Admin::UnknownShow => "ERR UNKNOWN_SHOW_ARGUMENTS\r\n".into(),
            Admin::UnknownCancel => "ERR UNKNOWN_ERROR\r\n".into(),
            Admin::Unknown(word) => {
                let mut text = b"ERR UNKNOWN_COMMAND Unknown+server+command".to_vec();
                text.extend_from_slice(&word);
                text.extend_from_slice(b"\r\n");
                return reply(out, conn, Response::Text(&text));
            }
        };
        if let Some((action, target)) = change.filter(|_| answer.text.starts_with("OK"))
            && let Some(peer) = self.peers.get(conn)
        {
            out.audit(Deed { at: self.now, address: peer.address, action, target });
        }
        out.send(conn, answer.after, Response::Text(answer.text.as_bytes()));
    }

    /// Whether all that a client may ask for is done now: what a load balancer or supervisor wants to know.
    fn ready(&self, out: &impl Output) -> String {
        let refusal = if self.draining.is_some() { Err(Refusal::SHUTDOWN) } else { out.readiness() };
        match refusal {
            Ok(()) => "OK\n".into(),
            Err(refusal) => format!("ERR {} {}\r\n", refusal.code, refusal.text.replace(' ', "+")),
        }
    }

    /// Answered with a bare newline: Python's admin clients demand exactly `OK` (W25).
    fn max_queue(&mut self, name: &Bytes, limits: MaxQueue, out: &mut impl Output) -> Answer {
        let known = self.functions.find(name);
        let function = match known {
            None if limits == [None; 3] => return "OK\n".into(),
            None => self.find_or_create_function(name).ok(),
            Some(_) => known,
        };
        let Some(function) = function else { return TOO_LARGE.into() };
        let pinned = self.functions.get(function).pinned;
        let record = Record::Function { name: name.as_ref().into(), limits, pinned };
        let Ok(after) = out.persist(record) else { return NOT_KEPT.into() };
        let entry = self.functions.change(function);
        entry.limits = limits;
        entry.is_memory &= limits == [None; 3];
        self.expire_if_unused(function);
        Answer { after, text: "OK\n".into() }
    }

    fn create_function(&mut self, name: &Bytes, out: &mut impl Output) -> Answer {
        let Ok(function) = self.find_or_create_function(name) else { return TOO_LARGE.into() };
        let limits = self.functions.get(function).limits;
        let record = Record::Function { name: name.as_ref().into(), limits, pinned: true };
        let Ok(after) = out.persist(record) else { return NOT_KEPT.into() };
        let entry = self.functions.change(function);
        entry.pinned = true;
        entry.is_memory = false;
        Answer { after, text: "OK\r\n".into() }
    }

    fn drop_function(&mut self, name: &Bytes, out: &mut impl Output) -> Answer {
        match self.drop_unused(name, out) {
            Ok(after) => Answer { after, text: "OK\r\n".into() },
            Err(Undropped::Unknown) => "ERR function not found\r\n".into(),
            Err(Undropped::Used) => "ERR there are still connected workers or executing clients\r\n".into(),
            Err(Undropped::NotKept(_)) => NOT_KEPT.into(),
        }
    }

    /// Removes a function that has neither jobs nor workers nor recurring jobs, with what is kept of its jobs. Returns the
    /// record that must be safe before that is told.
    ///
    /// # Errors
    /// Why it is still there.
    pub fn drop_unused(&mut self, name: &[u8], out: &mut impl Output) -> Result<RecordNo, Undropped> {
        let id = self.functions.find(name).ok_or(Undropped::Unknown)?;
        let function = self.functions.get(id);
        if function.workers > 0 || function.total() > 0 || function.schedules > 0 {
            return Err(Undropped::Used);
        }
        let kept: Vec<JobId> = function.over.iter().flatten().map(|(_, id)| *id).collect();
        if !kept.is_empty() && out.readiness() == Err(Refusal::STORE_FAILED) {
            return Err(Undropped::NotKept(Refusal::STORE_FAILED));
        }
        let mut after = RecordNo::NONE;
        if function.pinned || function.limits != [None; 3] {
            let record = Record::Function { name: name.into(), limits: [None; 3], pinned: false };
            after = out.persist(record).map_err(Undropped::NotKept)?;
        }
        let before = out.position();
        for job in kept {
            self.retire(job, Retirement::Deleted, out);
        }
        after = after.max(Some(out.position()).filter(|last| *last > before).unwrap_or(RecordNo::NONE));
        self.functions.remove(id);
        self.recents.forget(id);
        Ok(after)
    }

    /// Who waits for the job is told once; it is not handed out again, and what its worker still says is swallowed.
    fn cancel(&mut self, handle: &Bytes, out: &mut impl Output) -> Answer {
        let Some(id) = Handle::parse(&self.settings.handle_prefix, handle) else {
            return "ERR UNKNOWN_JOB\r\n".into();
        };
        if self.schedules.contains(id) {
            // Whoever is told that it is cancelled must not see it again after a crash.
            let Ok(after) = out.persist(Record::Unscheduled(id)) else { return NOT_KEPT.into() };
            self.forget_schedule(id);
            return Answer { after, text: "OK\r\n".into() };
        }
        let before = out.position();
        match self.control(id, Action::Cancel, out) {
            // Of a job in the foreground nothing was written.
            Ok(_) => Answer {
                after: Some(out.position()).filter(|after| *after > before).unwrap_or(RecordNo::NONE),
                text: "OK\r\n".into(),
            },
            Err(Undone::Refused(_)) => NOT_KEPT.into(),
            Err(_) => "ERR UNKNOWN_JOB\r\n".into(),
        }
    }

    fn show_unique(&self, function: &Bytes, unique: &Bytes) -> String {
        let function = self.functions.find(function);
        let found =
            function.and_then(|function| self.uniques.find(&self.jobs, function, Key::Unique(unique)));
        let live = |id| Some((id, self.live(id)?));
        let Some((id, job)) = found.and_then(live) else {
            return "ERR UNKNOWN_JOB\r\n".into();
        };
        let progress = job.progress();
        let state = if progress.running { "running" } else { "queued" };
        let numbers = progress.numbers;
        format!(
            "OK {}\t{state}\t{}\t{}\t{}\n",
            self.handle(id),
            numbers.numerator,
            numbers.denominator,
            job.waiting().len()
        )
    }

    fn shut_down(&self, conn: ConnId, drain: bool, out: &mut impl Output) -> Answer {
        let is_local = self.peers.get(conn).is_some_and(|peer| peer.address.is_loopback());
        if !is_local && !self.settings.remote_shutdown {
            return "ERR NOT_ALLOWED shutdown+is+honoured+from+this+machine+only\r\n".into();
        }
        out.shutdown(if drain { Drain::Queued } else { Drain::Running });
        "OK\r\n".into()
    }
}

/// What a command would change, for the audit.
fn to_change(admin: &Admin) -> Option<(&'static str, String)> {
    let text = |name: &Bytes| Printable(name).to_string();
    Some(match admin {
        Admin::MaxQueue { function, limits } => {
            let limits = limits.map(|limit| limit.map_or("none".to_owned(), |limit| limit.to_string()));
            ("maxqueue", format!("{} {}", text(function), limits.join(" ")))
        }
        Admin::CreateFunction(function) => ("create function", text(function)),
        Admin::DropFunction(function) => ("drop function", text(function)),
        Admin::CancelJob(handle) => ("cancel", text(handle)),
        Admin::Shutdown { drain } => ("shutdown", if *drain { "graceful" } else { "" }.to_owned()),
        _ => return None,
    })
}

/// Why a function was not dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undropped {
    /// There is none of this name.
    #[error("there is no such function")]
    Unknown,
    /// It is in use.
    #[error("the function has jobs, workers or schedules")]
    Used,
    /// The store cannot keep the change.
    #[error("{0}")]
    NotKept(Refusal),
}

/// What is told, and the record that must be safe before.
struct Answer {
    after: RecordNo,
    text: Cow<'static, str>,
}

impl From<&'static str> for Answer {
    fn from(text: &'static str) -> Self {
        Self { after: RecordNo::NONE, text: text.into() }
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { after: RecordNo::NONE, text: text.into() }
    }
}

const NOT_KEPT: &str = "ERR QUEUE_ERROR The+store+cannot+keep+this+now\r\n";

const TOO_LARGE: &str =
    "ERR INVALID_ARGUMENTS The+function+name+is+too+long+or+there+are+too+many+functions\r\n";

/// A list that is being told, so many rows at a time.
#[derive(Clone, Debug)]
pub struct Lister {
    listing: Listing,
    next: Next,
}

/// Where a list goes on.
#[derive(Clone, Debug)]
enum Next {
    AfterFunction(Option<Bytes>),
    FromConn(ConnId),
    FromJob(JobId),
}

impl Lister {
    /// A list from its beginning.
    pub fn new(listing: Listing) -> Self {
        let next = match listing {
            Listing::Status | Listing::PriorityStatus => Next::AfterFunction(None),
            Listing::Workers => Next::FromConn(ConnId(0)),
            Listing::Jobs | Listing::UniqueJobs | Listing::Schedules => Next::FromJob(JobId(0)),
        };
        Self { listing, next }
    }
}

impl Engine {
    /// Appends at most `rows` further rows of a list, and its end if it is reached. Whether there is more.
    ///
    /// Each row is true when it is told; a list told in several calls may span changes between them.
    pub fn list(&self, lister: &mut Lister, rows: usize, into: &mut Vec<u8>) -> bool {
        let next = match &lister.next {
            Next::AfterFunction(after) => self.list_functions(lister.listing, after.as_ref(), rows, into),
            Next::FromConn(from) => self.list_workers(*from, rows, into),
            Next::FromJob(from) if lister.listing == Listing::Schedules => {
                self.list_schedules(*from, rows, into)
            }
            Next::FromJob(from) => self.list_jobs(lister.listing, *from, rows, into),
        };
        match next {
            Some(next) => lister.next = next,
            None => {
                into.extend_from_slice(b".\n");
                return false;
            }
        }
        true
    }

    fn list_functions(
        &self,
        listing: Listing,
        after: Option<&Bytes>,
        rows: usize,
        into: &mut Vec<u8>,
    ) -> Option<Next> {
        let mut functions = self.functions.after(after);
        let mut last = None;
        let mut digits = itoa::Buffer::new();
        for (_, function) in functions.by_ref().take(rows) {
            last = Some(&function.name);
            if function.is_memory() {
                continue;
            }
            put_name(into, &function.name);
            let numbers: &[usize] = match listing {
                Listing::Status => &[function.total(), function.running, function.workers],
                _ => {
                    let [high, normal, low] = Priority::ALL.map(|priority| function.waiting(priority));
                    &[high, normal, low, function.workers]
                }
            };
            for number in numbers {
                into.push(b'\t');
                into.extend_from_slice(digits.format(*number).as_bytes());
            }
            into.push(b'\n');
        }
        let last = last.or(after).cloned();
        functions.next().map(|_| Next::AfterFunction(last))
    }

    fn list_workers(&self, from: ConnId, rows: usize, into: &mut Vec<u8>) -> Option<Next> {
        let mut peers = self.peers.from(from);
        for (conn, peer) in peers.by_ref().take(rows) {
            self.put_worker(into, conn, peer);
        }
        peers.next().map(|(conn, _)| Next::FromConn(conn))
    }

    fn put_worker(&self, into: &mut Vec<u8>, conn: ConnId, peer: &Peer) {
        let id = if peer.client_id.is_empty() { "-" } else { &peer.client_id };
        put(into, format_args!("{conn} {} {id} :", peer.address));
        let mut names: Vec<&Bytes> =
            peer.ties().abilities.keys().map(|function| &self.functions.get(*function).name).collect();
        names.sort_unstable();
        for name in names {
            into.push(b' ');
            put_name(into, name);
        }
        into.push(b'\n');
    }

    fn list_jobs(&self, listing: Listing, from: JobId, rows: usize, into: &mut Vec<u8>) -> Option<Next> {
        let mut jobs = self.jobs.from(from);
        for (id, job) in jobs.by_ref().take(rows) {
            if job.over().is_some() {
                continue;
            }
            self.put_job(into, listing, id, job);
        }
        jobs.next().map(|(id, _)| Next::FromJob(id))
    }

    fn put_job(&self, into: &mut Vec<u8>, listing: Listing, id: JobId, job: &Job) {
        if listing == Listing::Jobs {
            // The third field is the reference's mark of abandoned jobs, which are not kept here.
            put(into, format_args!("{}\t{}\t0\t{}\n", self.handle(id), job.losses(), u8::from(job.kept)));
        } else {
            put_name(into, job.content.unique());
            into.push(b'\n');
        }
    }

    fn list_schedules(&self, from: JobId, rows: usize, into: &mut Vec<u8>) -> Option<Next> {
        let mut schedules = self.schedules.from(from);
        for (id, schedule) in schedules.by_ref().take(rows) {
            put(into, format_args!("{}\t", self.handle(id)));
            put_name(into, &self.functions.get(schedule.function).name);
            into.push(b'\t');
            put_name(into, schedule.spec.unique());
            put(
                into,
                format_args!("\t{}\t{}\n", schedule.plan.fields, schedule.next.as_micros() / 1_000_000),
            );
        }
        schedules.next().map(|(id, _)| Next::FromJob(id))
    }
}

fn put(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = into.write_fmt(text);
}

/// A name as it stands in a line: bytes that would break the line, and a dot that would look like its end, escaped.
fn put_name(into: &mut Vec<u8>, name: &[u8]) {
    if !name.starts_with(b".") && !name.iter().any(u8::is_ascii_control) {
        return into.extend_from_slice(name);
    }
    for (index, byte) in name.iter().enumerate() {
        if byte.is_ascii_control() || (index == 0 && *byte == b'.') {
            put(into, format_args!("\\x{byte:02x}"));
        } else {
            into.push(*byte);
        }
    }
}
