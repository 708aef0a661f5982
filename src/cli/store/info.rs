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
use crate::engine::{Record, Standing};
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
    /// High, normal, low.
    by_priority: [u64; 3],
    delayed: u64,
    payload_bytes: u64,
    oldest: Option<(JobId, Vec<u8>)>,
    recurring: u64,
    functions_kept: u64,
    functions: HashMap<Vec<u8>, Share>,
}

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
        let facts = Facts { store: &store, summary, next, damaged: damage.len(), limit: self.limit };
        let mut out = io::stdout().lock();
        let result = if self.json { facts.as_json(&mut out) } else { facts.for_people(&mut out) };
        written(result.and_then(|()| out.flush()))
    }
}

impl Summary {
    fn count(&mut self, now: Timestamp, record: &Record<'static>) {
        match record {
            Record::Queued { id, standing, spec } => self.count_job(now, *id, *standing, spec),
            Record::Scheduled { .. } => self.recurring += 1,
            Record::Function { .. } => self.functions_kept += 1,
            Record::Lost { .. } | Record::Done(_) | Record::Unscheduled(_) => {}
        }
    }

    fn count_job(&mut self, now: Timestamp, id: JobId, standing: Standing, spec: &Spec) {
        let bytes = u64::from(spec.payload_len());
        self.by_priority[standing.priority as usize] += 1;
        self.delayed += u64::from(standing.due.is_some_and(|due| due > now));
        self.payload_bytes += bytes;
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
        let Summary { by_priority: [high, normal, low], delayed, payload_bytes, .. } = &self.summary;
        let files = self.store.files().into_iter().map(|(name, size)| format!("{name} {}", ByteSize(size)));
        writeln!(out, "directory       {}", self.store.path().display())?;
        writeln!(out, "format          {}", self.store.format())?;
        writeln!(out, "files           {}", files.collect::<Vec<_>>().join(", "))?;
        writeln!(out, "jobs            {}: high {high}, normal {normal}, low {low}", self.summary.jobs())?;
        writeln!(out, "state           queued {}, delayed {delayed}", self.summary.jobs() - delayed)?;
        writeln!(out, "payloads        {}", ByteSize(*payload_bytes))?;
        match &self.summary.oldest {
            Some((id, function)) => writeln!(out, "oldest job      {}, of {}", id.0, Printable(function))?,
            None => writeln!(out, "oldest job      none")?,
        }
        writeln!(out, "recurring jobs  {}", self.summary.recurring)?;
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
        let Summary { by_priority: [high, normal, low], delayed, payload_bytes, .. } = &self.summary;
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
            "queued": self.summary.jobs() - delayed,
            "delayed": delayed,
            "payload_bytes": payload_bytes,
            "oldest": oldest.map(|(id, function)| json!({ "number": id.0, "function": text(function) })),
            "recurring": self.summary.recurring,
            "functions_kept": self.summary.functions_kept,
            "next_number": self.next.0,
            "damaged_rows": self.damaged,
            "functions_in_all": self.summary.functions.len(),
            "functions": functions.collect::<Vec<_>>(),
        });
        writeln!(out, "{value:#}")
    }
}
