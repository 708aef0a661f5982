//! `gearhouse store export`: all that is kept, as lines of JSON, a bounded number of jobs in memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;

use super::super::tell;
use super::{Failure, written};
use crate::engine::Record;
use crate::store::Reader;
use crate::store::StoreError;
use crate::store::lines::Line;
use crate::store::sqlite::Inspection;
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
        let store = Inspection::open(directory)?;
        let Some(path) = &self.output else {
            let result = write(&store, self.salvage, BufWriter::new(io::stdout().lock()));
            return finish(result.map(drop));
        };
        // Whoever finds the file finds all of it.
        let part = with_ending(path, ".part");
        let fault = |error| Failure::usage(format!("{}: {error}", path.display()));
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(fault)?;
        let result = write(&store, self.salvage, BufWriter::new(file)).and_then(|out| {
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
}

fn finish(result: Result<(), ExportError>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(ExportError::Write(error)) => written(Err(error)),
        Err(ExportError::Store(error)) => Err(error.into()),
        Err(ExportError::Payload { job, function }) => Err(Failure::refused(format!(
            "the payload of job {job}, of {function}, is missing or damaged; the export ends before it. `gearhouse store \
             verify` tells what else is, --salvage exports the rest"
        ))),
    }
}

#[derive(Debug)]
enum ExportError {
    Store(StoreError),
    Write(io::Error),
    Payload { job: u64, function: String },
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

fn write<W: Write>(store: &Inspection, salvage: bool, out: W) -> Result<W, ExportError> {
    let mut writing = Writing { out, reader: store.reader()?, salvage, gathered: Vec::new(), bytes: 0 };
    Line::Begin.write(&mut writing.out)?;
    let mut result = Ok(());
    let (next, damage) = store.replay(salvage, &mut |record| {
        if result.is_ok() {
            result = writing.add(record);
        }
    })?;
    result?;
    writing.flush()?;
    for damage in damage {
        tell(format_args!("left out: {damage}"));
    }
    Line::End(next).write(&mut writing.out)?;
    writing.out.flush()?;
    Ok(writing.out)
}

struct Writing<W> {
    out: W,
    reader: Box<dyn Reader>,
    salvage: bool,
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
                    None if self.salvage => {
                        let (job, function) = (id.0, Printable(spec.function()));
                        tell(format_args!(
                            "left out: job {job}, of {function}: its payload is missing or damaged"
                        ));
                        continue;
                    }
                    None => {
                        let function = Printable(spec.function()).to_string();
                        return Err(ExportError::Payload { job: id.0, function });
                    }
                }
            }
            Line::Thing(record).write(&mut self.out)?;
        }
        Ok(())
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}
