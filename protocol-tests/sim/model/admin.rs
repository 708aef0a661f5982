//! Lines of text and their answers; all numbers are counted anew each time.

use bytes::Bytes;
use gearhouse::engine::{Drain, Output as _, Retirement};
use gearhouse::protocol::{Listing, Refusal};
use gearhouse::types::{ConnId, Priority};

use super::super::ask::Admin;
use super::super::seen::Seen;
use super::{Function, Job, Model};

const NOT_KEPT: &str = "ERR QUEUE_ERROR The+store+cannot+keep+this+now\r\n";

const TOO_LARGE: &str =
    "ERR INVALID_ARGUMENTS The+function+name+is+too+long+or+there+are+too+many+functions\r\n";

impl Model {
    pub(super) fn admin(&mut self, conn: ConnId, admin: &Admin, seen: &mut Seen) {
        let text = match admin {
            Admin::List(listing) => return seen.text(conn, 0, &self.list(*listing)),
            Admin::Ready => self.ready(seen),
            Admin::Version => format!("OK {}\n", self.settings.version),
            Admin::CreateFunction(name) => match self.find_or_create_function(name) {
                Ok(_) if seen.keeps_nothing() => NOT_KEPT.into(),
                Ok(function) => {
                    function.pinned = true;
                    "OK\r\n".into()
                }
                Err(_) => TOO_LARGE.into(),
            },
            Admin::DropFunction(name) => self.drop_function(name, seen),
            Admin::CancelJob(handle) => self.cancel(handle, seen),
            Admin::MaxQueue(name, limits) => self.max_queue(name, limits, seen),
            Admin::ShowUnique(function, unique) => self.show_unique(function, unique),
            Admin::Shutdown { graceful } => self.shutdown(conn, *graceful, seen),
            Admin::Unknown(word) => {
                let word = String::from_utf8_lossy(word);
                format!("ERR UNKNOWN_COMMAND Unknown+server+command{word}\r\n")
            }
        };
        // What is changed for good is safe before that is told.
        seen.text(conn, seen.new_record(), text.as_bytes());
    }

    fn ready(&self, seen: &Seen) -> String {
        let refusal = if self.draining.is_some() { Err(Refusal::SHUTDOWN) } else { seen.readiness() };
        refusal.map_or_else(
            |refusal| format!("ERR {} {}\r\n", refusal.code, refusal.text.replace(' ', "+")),
            |()| "OK\n".into(),
        )
    }

    /// What is kept of its jobs goes with it.
    fn drop_function(&mut self, name: &Bytes, seen: &mut Seen) -> String {
        let Some(index) = self.functions.iter().position(|function| function.name == *name) else {
            return "ERR function not found\r\n".into();
        };
        if self.is_in_use(name) {
            return "ERR there are still connected workers or executing clients\r\n".into();
        }
        let function = &self.functions[index];
        let is_made = function.pinned || function.limits != [None; 3];
        if seen.has_failed() && (is_made || self.is_remembered(name)) {
            return NOT_KEPT.into();
        }
        self.functions.remove(index);
        let kept = self.over.iter().filter(|job| job.function == *name).filter_map(|job| job.number);
        for number in kept.collect::<Vec<_>>() {
            self.retire(number, Retirement::Deleted, seen);
        }
        "OK\r\n".into()
    }

    fn cancel(&mut self, handle: &Bytes, seen: &mut Seen) -> String {
        let of_over = self.over.iter().find(|job| self.job_handle_of(job).as_bytes() == handle);
        if of_over.is_some_and(|job| job.kept && seen.has_failed()) {
            return NOT_KEPT.into();
        }
        let Some(number) = self.number_of(handle) else { return "ERR UNKNOWN_JOB\r\n".into() };
        let index = self.index_of(number);
        if seen.has_failed() && index.is_none_or(|index| self.jobs[index].kept) {
            return NOT_KEPT.into();
        }
        match index {
            Some(_) if self.cancel_by_text(number, seen).is_err() => return "ERR UNKNOWN_JOB\r\n".into(),
            Some(_) => {}
            None => self.schedules.retain(|schedule| schedule.number != number),
        }
        "OK\r\n".into()
    }

    fn max_queue(&mut self, name: &Bytes, limits: &[u32], seen: &Seen) -> String {
        let limit = |index: usize| limits.get(index).copied().filter(|limit| *limit > 0);
        let limits = if limits.len() == 1 { [limit(0); 3] } else { [limit(0), limit(1), limit(2)] };
        let is_known = self.functions.iter().any(|function| function.name == *name);
        if !is_known && limits == [None; 3] {
            return "OK\n".into();
        }
        let now = self.now;
        match self.find_or_create_function(name) {
            Ok(function)
                if seen.has_failed() || seen.keeps_nothing() && (function.pinned || limits != [None; 3]) =>
            {
                NOT_KEPT.into()
            }
            Ok(function) => {
                function.limits = limits;
                // Its time begins anew, if it is not in use.
                function.unused_since = Some(now);
                "OK\n".into()
            }
            Err(_) => TOO_LARGE.into(),
        }
    }

    fn show_unique(&self, function: &Bytes, unique: &Bytes) -> String {
        let is_it = |job: &&Job| {
            job.function == *function && job.unique == *unique && unique != "-" && !job.is_double
        };
        let Some(job) = self.jobs.iter().find(is_it) else { return "ERR UNKNOWN_JOB\r\n".into() };
        let handle = self.handle(job.number.expect("it was named"));
        let state = if job.is_running() { "running" } else { "queued" };
        let (numerator, denominator) = job.numbers;
        format!("OK {handle}\t{state}\t{numerator}\t{denominator}\t{}\n", job.waiting.len())
    }

    fn shutdown(&mut self, conn: ConnId, graceful: bool, seen: &mut Seen) -> String {
        if !self.peer(conn).is_loopback && !self.settings.remote_shutdown {
            return "ERR NOT_ALLOWED shutdown+is+honoured+from+this+machine+only\r\n".into();
        }
        let asked = if graceful { Drain::Queued } else { Drain::Running };
        assert_eq!(seen.shutdown, Some(asked), "shutdown is honoured");
        "OK\r\n".into()
    }

    /// A list as it must be told.
    pub fn list(&self, listing: Listing) -> Vec<u8> {
        let mut rows: Vec<String> = match listing {
            Listing::Status | Listing::PriorityStatus => self.function_rows(listing),
            Listing::Workers => self
                .peers
                .iter()
                .map(|peer| {
                    let mut names: Vec<&Bytes> =
                        peer.abilities.iter().map(|ability| &ability.function).collect();
                    names.sort_unstable();
                    let names: String = names.iter().map(|name| format!(" {}", escaped(name))).collect();
                    format!("{} {} {} :{names}", peer.conn, peer.address, peer.client_id)
                })
                .collect(),
            Listing::Jobs => self
                .jobs
                .iter()
                .map(|job| {
                    let handle = self.handle(job.number.expect("it was named"));
                    format!("{handle}\t{}\t0\t{}", job.losses, u8::from(job.kept))
                })
                .collect(),
            Listing::UniqueJobs => self.jobs.iter().map(|job| escaped(&job.unique)).collect(),
            Listing::Schedules => self
                .schedules
                .iter()
                .map(|schedule| {
                    let fields =
                        schedule.fields.map(|field| if field.is_empty() { "*" } else { field }).join(" ");
                    let (function, unique) =
                        (escaped(&schedule.submit.function), escaped(&schedule.submit.unique));
                    let next = schedule.next.as_micros() / 1_000_000;
                    format!("{}\t{function}\t{unique}\t{fields}\t{next}", self.handle(schedule.number))
                })
                .collect(),
        };
        rows.push(".".into());
        // Each character stands for one byte: see `escaped`.
        rows.iter().flat_map(|row| row.chars().chain(['\n'])).map(|char| char as u8).collect()
    }

    fn function_rows(&self, listing: Listing) -> Vec<String> {
        let is_told = |function: &&Function| {
            let is_made = function.pinned || function.limits != [None; 3];
            is_made || self.is_in_use(&function.name) || !function.is_memory
        };
        let mut names: Vec<&Bytes> =
            self.functions.iter().filter(is_told).map(|function| &function.name).collect();
        names.sort_unstable();
        let row = |name: &&Bytes| {
            let jobs = || self.jobs_of(name);
            let (shown, workers) = (escaped(name), self.workers(name));
            if listing == Listing::Status {
                let running = jobs().filter(|job| job.is_running()).count();
                return format!("{shown}\t{}\t{running}\t{workers}", jobs().count());
            }
            let waiting = |priority: Priority| {
                jobs().filter(|job| job.priority == priority && !job.is_running() && !job.is_held()).count()
            };
            let [high, normal, low] = Priority::ALL.map(waiting);
            format!("{shown}\t{high}\t{normal}\t{low}\t{workers}")
        };
        names.iter().map(row).collect()
    }
}

/// A name as a list shows it, one character for each byte.
fn escaped(name: &[u8]) -> String {
    let dot_first = |index: usize, byte: u8| index == 0 && byte == b'.';
    let shown = name.iter().enumerate().map(|(index, byte)| match *byte {
        byte if byte.is_ascii_control() || dot_first(index, byte) => format!("\\x{byte:02x}"),
        byte => char::from(byte).to_string(),
    });
    shown.collect()
}
