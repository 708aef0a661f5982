//! `gearhouse store export`: all that is kept, as lines of JSON, a bounded number of jobs in memory.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;

use super::super::tell;
use super::{Failure, written};
use crate::engine::{Phase, Record, Standing};
use crate::store::Reader;
use crate::store::StoreError;
use crate::store::lines::Line;
use crate::store::sqlite::{Inspection, rescue};
use crate::types::{JobId, Printable};

/// Jobs whose payloads are read in one go.
const MOST_JOBS: usize = 512;

/// Bytes of payloads that are read in one go, unless a single one is larger.
const MOST_BYTES: u64 = 8 << 20;

#[derive(Args, Debug)]
pub(super) struct Export {
    /// Where to write the lines, in place of standard output; there when all is written, readable by its owner only
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Export what is whole although something is damaged, and tell what is left out
    #[arg(long)]
    salvage: bool,
}

impl Export {
    pub(super) fn run(self, directory: &Path) -> Result<(), Failure> {
        let Some(path) = &self.output else {
            let result = self.write(directory, BufWriter::new(io::stdout().lock()));
            return finish(result.map(drop));
        };
        // Whoever finds the file finds all of it.
        let part = with_ending(path, ".part");
        let fault = |error| Failure::usage(format!("{}: {error}", path.display()));
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(fault)?;
        let result = self.write(directory, BufWriter::new(file)).and_then(|out| {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&part, path)?;
            Ok(())
        });
        if result.is_err() {
            let _ = fs::remove_file(&part);
        }
        finish(result)
    }

    fn write<W: Write>(&self, directory: &Path, out: W) -> Result<W, ExportError> {
        if self.salvage { write_whole(directory, out) } else { write(&Inspection::open(directory)?, out) }
    }
}

/// All that is whole.
fn write_whole<W: Write>(directory: &Path, mut out: W) -> Result<W, ExportError> {
    Line::Begin.write(&mut out)?;
    let mut result = Ok(());
    let mut add = |record| {
        if result.is_ok() {
            result = Line::Thing(record).write(&mut out);
        }
    };
    let next = rescue(directory, &mut add, &mut |what| tell(format_args!("{what}")))?;
    result?;
    Line::End(next).write(&mut out)?;
    out.flush()?;
    Ok(out)
}

fn finish(result: Result<(), ExportError>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(ExportError::Write(error)) => written(Err(error)),
        Err(ExportError::Store(error)) => Err(error.into()),
        Err(ExportError::Unreadable { what, job, function }) => Err(Failure::refused(format!(
            "the {what} of job {job}, of {function}, is missing or damaged; the export ends before it. `gearhouse store \
             verify` tells what else is, --salvage exports the rest"
        ))),
    }
}

#[derive(Debug)]
enum ExportError {
    Store(StoreError),
    Write(io::Error),
    Unreadable { what: &'static str, job: u64, function: String },
}

fn unreadable(what: &'static str, job: JobId, function: &[u8]) -> ExportError {
    ExportError::Unreadable { what, job: job.0, function: Printable(function).to_string() }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        ExportError::Write(error)
    }
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        ExportError::Store(error)
    }
}

fn write<W: Write>(store: &Inspection, out: W) -> Result<W, ExportError> {
    let mut results = HashSet::new();
    store.results(&mut |job, _| {
        results.insert(job);
    })?;
    let mut writing = Writing { out, reader: store.reader()?, results, gathered: Vec::new(), bytes: 0 };
    Line::Begin.write(&mut writing.out)?;
    let mut result = Ok(());
    let (next, _) = store.replay(false, &mut |record| {
        if result.is_ok() {
            result = writing.add(record);
        }
    })?;
    result?;
    writing.flush()?;
    Line::End(next).write(&mut writing.out)?;
    writing.out.flush()?;
    Ok(writing.out)
}

struct Writing<W> {
    out: W,
    reader: Box<dyn Reader>,
    /// Jobs that have one.
    results: HashSet<JobId>,
    /// Records whose payloads are still to be read.
    gathered: Vec<Record<'static>>,
    bytes: u64,
}

impl<W: Write> Writing<W> {
    fn add(&mut self, record: Record<'static>) -> Result<(), ExportError> {
        if let Record::Queued { spec, .. } = &record {
            let bytes = u64::from(spec.payload_len());
            if self.gathered.len() >= MOST_JOBS || self.bytes + bytes > MOST_BYTES {
                self.flush()?;
            }
            self.bytes += bytes;
        }
        self.gathered.push(record);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        let mut bodies: HashMap<JobId, Bytes> = HashMap::new();
        let wanted = self.gathered.iter().filter_map(|record| match record {
            Record::Queued { id, spec, .. } if !spec.is_whole() => Some(*id),
            _ => None,
        });
        let wanted: Vec<JobId> = wanted.collect();
        self.reader.read(&wanted, &mut |id, body| bodies.extend(body.map(|body| (id, body))))?;
        self.bytes = 0;
        for mut record in std::mem::take(&mut self.gathered) {
            if let Record::Queued { id, spec, .. } = &mut record
                && !spec.is_whole()
            {
                match bodies.remove(id).and_then(|body| spec.with_body(body)) {
                    Some(whole) => *spec.to_mut() = whole,
                    None => return Err(unreadable("payload", *id, spec.function())),
                }
            }
            let ended = match &record {
                Record::Queued { id, spec, standing: Standing { phase: Phase::Over { .. }, .. }, .. } => {
                    Some((*id, spec.function_bytes())).filter(|(id, _)| self.results.contains(id))
                }
                _ => None,
            };
            Line::Thing(record).write(&mut self.out)?;
            if let Some((id, function)) = ended {
                let body = self.reader.read_result(id)?.ok_or_else(|| unreadable("result", id, &function))?;
                Line::Thing(Record::Result { id, body }).write(&mut self.out)?;
            }
        }
        Ok(())
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}
