//! `gearhouse store info`: what is kept, counted.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;

use bytesize::ByteSize;
use clap::Args;
use serde_json::{Value, json};

use super::super::table::{self, Column};
use super::super::values::CountOrAll;
use super::{Failure, written};
use crate::clock::Clock;
use crate::engine::{Outcome, Phase, Reason, Record, Standing};
use crate::protocol::Spec;
use crate::store::sqlite::Inspection;
use crate::types::{JobId, Printable, Timestamp};

#[derive(Args, Debug)]
pub(super) struct Info {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,

    /// Functions to list, those with most jobs first; or all
    #[arg(long, value_name = "N", default_value = "20")]
    limit: CountOrAll,
}

/// What was counted.
#[derive(Default)]
struct Summary {
    /// High, normal, low; without those that are over.
    by_priority: [u64; 3],
    delayed: u64,
    held: u64,
    running: u64,
    /// Jobs that are over and kept, in the order of [`OUTCOMES`].
    by_outcome: [u64; OUTCOMES.len()],
    /// Their numbers, in their order.
    over: Vec<JobId>,
    results: u64,
    result_bytes: u64,
    payload_bytes: u64,
    oldest: Option<(JobId, Vec<u8>)>,
    recurring: u64,
    policies: u64,
    functions_kept: u64,
    functions: HashMap<Vec<u8>, Share>,
}

/// How jobs end, and the word for it.
const OUTCOMES: [(Outcome, &str); 8] = [
    (Outcome::Succeeded, "succeeded"),
    (Outcome::Cancelled, "cancelled"),
    (Outcome::Failed(Reason::Failed), "failed"),
    (Outcome::Failed(Reason::Exception), "exception"),
    (Outcome::Failed(Reason::TimedOut), "timed_out"),
    (Outcome::Failed(Reason::Lost), "lost"),
    (Outcome::Failed(Reason::LeaseExpired), "lease_expired"),
    (Outcome::Failed(Reason::Expired), "expired"),
];

/// What belongs to one function.
#[derive(Clone, Copy, Default)]
struct Share {
    jobs: u64,
    payload_bytes: u64,
}

impl Info {
    pub(super) fn run(self, directory: &Path) -> Result<(), Failure> {
        let store = Inspection::open(directory)?;
        let now = Clock::new().now();
        let mut summary = Summary::default();
        let (next, damage) = store.replay(true, &mut |record| summary.count(now, &record))?;
        store.results(&mut |job, bytes| summary.count_result(job, bytes))?;
        let facts = Facts { store: &store, summary, next, damaged: damage.len(), limit: self.limit };
        let mut out = io::stdout().lock();
        let result = if self.json { facts.as_json(&mut out) } else { facts.for_people(&mut out) };
        written(result.and_then(|()| out.flush()))
    }
}

impl Summary {
    fn count(&mut self, now: Timestamp, record: &Record<'static>) {
        match record {
            Record::Queued { id, standing, spec, .. } => self.count_job(now, *id, *standing, spec),
            Record::Scheduled { .. } => self.recurring += 1,
            Record::Function { .. } => self.functions_kept += 1,
            Record::Policy { .. } => self.policies += 1,
            Record::Stands { .. } | Record::Result { .. } | Record::Done(_) | Record::Unscheduled(_) => {}
        }
    }

    fn count_result(&mut self, job: JobId, bytes: u64) {
        // Of others it is what is left to be tidied.
        if self.over.binary_search(&job).is_ok() {
            self.results += 1;
            self.result_bytes += bytes;
        }
    }

    fn count_job(&mut self, now: Timestamp, id: JobId, standing: Standing, spec: &Spec) {
        let bytes = u64::from(spec.payload_len());
        self.payload_bytes += bytes;
        match standing.phase {
            Phase::Over { outcome, .. } => {
                self.over.push(id);
                let ends = self.by_outcome.iter_mut().zip(OUTCOMES);
                ends.filter(|(_, (named, _))| *named == outcome).for_each(|(count, _)| *count += 1);
                return;
            }
            Phase::Waiting => self.delayed += u64::from(standing.due.is_some_and(|due| due > now)),
            Phase::Held => self.held += 1,
            Phase::Running | Phase::Cancelling => self.running += 1,
        }
        self.by_priority[standing.priority as usize] += 1;
        // They come in the order of their numbers.
        self.oldest.get_or_insert_with(|| (id, spec.function().to_vec()));
        if !self.functions.contains_key(spec.function()) {
            self.functions.insert(spec.function().to_vec(), Share::default());
        }
        if let Some(share) = self.functions.get_mut(spec.function()) {
            share.jobs += 1;
            share.payload_bytes += bytes;
        }
    }

    fn jobs(&self) -> u64 {
        self.by_priority.iter().sum()
    }

    fn queued(&self) -> u64 {
        self.jobs() - self.delayed - self.held - self.running
    }

    /// Each outcome's word, with the jobs that ended so.
    fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.by_outcome).map(|((_, word), count)| (word, count))
    }
}

struct Facts<'a> {
    store: &'a Inspection,
    summary: Summary,
    next: JobId,
    damaged: usize,
    limit: CountOrAll,
}

impl Facts<'_> {
    /// The functions to list.
    fn functions(&self) -> Vec<(&Vec<u8>, Share)> {
        let mut functions: Vec<_> =
            self.summary.functions.iter().map(|(name, share)| (name, *share)).collect();
        functions.sort_by(|(a, one), (b, other)| other.jobs.cmp(&one.jobs).then_with(|| a.cmp(b)));
        if let CountOrAll(Some(limit)) = self.limit {
            functions.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        functions
    }

    fn for_people(&self, mut out: impl Write) -> io::Result<()> {
        let Summary { by_priority: [high, normal, low], delayed, held, running, payload_bytes, .. } =
            &self.summary;
        let outcomes = self.summary.outcomes().filter(|(_, count)| *count > 0);
        let outcomes: Vec<String> = outcomes.map(|(word, count)| format!("{word} {count}")).collect();
        let files = self.store.files().into_iter().map(|(name, size)| format!("{name} {}", ByteSize(size)));
        writeln!(out, "directory       {}", self.store.path().display())?;
        writeln!(out, "format          {}", self.store.format())?;
        writeln!(out, "files           {}", files.collect::<Vec<_>>().join(", "))?;
        writeln!(out, "jobs            {}: high {high}, normal {normal}, low {low}", self.summary.jobs())?;
        let queued = self.summary.queued();
        writeln!(out, "state           queued {queued}, delayed {delayed}, held {held}, running {running}")?;
        let colon = if outcomes.is_empty() { "" } else { ": " };
        writeln!(out, "over, kept      {}{colon}{}", self.summary.over.len(), outcomes.join(", "))?;
        writeln!(out, "results         {}", ByteSize(self.summary.result_bytes))?;
        writeln!(out, "payloads        {}", ByteSize(*payload_bytes))?;
        match &self.summary.oldest {
            Some((id, function)) => writeln!(out, "oldest job      {}, of {}", id.0, Printable(function))?,
            None => writeln!(out, "oldest job      none")?,
        }
        writeln!(out, "recurring jobs  {}", self.summary.recurring)?;
        writeln!(out, "policies        {}", self.summary.policies)?;
        writeln!(out, "functions kept  {}", self.summary.functions_kept)?;
        writeln!(out, "next number     {}", self.next.0)?;
        if self.damaged > 0 {
            let damaged = self.damaged;
            writeln!(out, "damaged rows    {damaged}, left out here: `gearhouse store verify` tells which")?;
        }
        let functions = self.functions();
        if functions.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let columns = [("FUNCTION", false), ("JOBS", true), ("BYTES", true)];
        let columns = columns.map(|(title, is_number)| Column { title, is_number });
        let row = |(name, share): &(&Vec<u8>, Share)| {
            vec![Printable(name).to_string(), share.jobs.to_string(), share.payload_bytes.to_string()]
        };
        table::write(&mut out, &columns, &functions.iter().map(row).collect::<Vec<_>>())?;
        match self.summary.functions.len() - functions.len() {
            0 => Ok(()),
            more => writeln!(out, "and {more} more: --limit all lists them"),
        }
    }

    fn as_json(&self, mut out: impl Write) -> io::Result<()> {
        let Summary { by_priority: [high, normal, low], delayed, held, running, payload_bytes, .. } =
            &self.summary;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let oldest = self.summary.oldest.as_ref();
        let functions = self.functions().into_iter().map(|(name, share)| -> Value {
            json!({ "function": text(name), "jobs": share.jobs, "payload_bytes": share.payload_bytes })
        });
        let value = json!({
            "directory": self.store.path().to_string_lossy(),
            "format": self.store.format(),
            "files": self.store.files().into_iter().collect::<BTreeMap<String, u64>>(),
            "jobs": self.summary.jobs(),
            "high": high,
            "normal": normal,
            "low": low,
            "queued": self.summary.queued(),
            "delayed": delayed,
            "held": held,
            "running": running,
            "over": self.summary.outcomes().collect::<BTreeMap<&str, u64>>(),
            "results": self.summary.results,
            "result_bytes": self.summary.result_bytes,
            "payload_bytes": payload_bytes,
            "oldest": oldest.map(|(id, function)| json!({ "number": id.0, "function": text(function) })),
            "recurring": self.summary.recurring,
            "policies": self.summary.policies,
            "functions_kept": self.summary.functions_kept,
            "next_number": self.next.0,
            "damaged_rows": self.damaged,
            "functions_in_all": self.summary.functions.len(),
            "functions": functions.collect::<Vec<_>>(),
        });
        writeln!(out, "{value:#}")
    }
}
