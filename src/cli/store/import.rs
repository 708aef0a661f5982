//! `gearhouse store import`: an empty store is filled from the lines of an export.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::tell;
use super::Failure;
use crate::clock::Clock;
use crate::engine::{Engine, Record, Seed, Settings, check_pattern};
use crate::store::lines::Line;
use crate::store::sqlite;
use crate::types::{JobId, Timestamp};

#[derive(Args, Debug)]
pub(super) struct Import {
    /// The lines that `gearhouse store export` wrote; `-` or nothing: standard input
    file: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(self, directory: &Path) -> Result<(), Failure> {
        let (name, input): (String, Box<dyn BufRead>) = match self.file {
            Some(path) if path.as_os_str() != "-" => {
                let name = path.display().to_string();
                let file = File::open(&path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
                (name, Box::new(BufReader::with_capacity(1 << 20, file)))
            }
            _ => ("standard input".to_owned(), Box::new(io::stdin().lock())),
        };
        let mut lines = Lines { name, input, number: 0, text: Vec::new() };
        // Before the directory is made: another file may have been meant.
        if lines.next()? != Some(Line::Begin) {
            return Err(lines.refuse("an export begins with a line of the kind store"));
        }
        let mut import = sqlite::Import::begin(directory)?;
        let now = Clock::new().now();
        let (mut count, mut policies) = (0_u64, 0);
        let next = loop {
            match lines.next()? {
                Some(Line::Thing(record)) => {
                    check(now, &record, policies).map_err(|why| lines.refuse(why))?;
                    if !import.add(&record)? {
                        return Err(lines.refuse("its number came before"));
                    }
                    count += 1;
                    policies += usize::from(matches!(record, Record::Policy { .. }));
                }
                Some(Line::End(next)) => break next,
                Some(Line::Begin) => return Err(lines.refuse("an export begins only once")),
                None => {
                    return Err(lines.refuse(
                        "an export ends with a line of the kind end, which is missing: the file was cut short",
                    ));
                }
            }
        };
        if lines.next()?.is_some() {
            return Err(lines.refuse("there is more after the line of the kind end"));
        }
        import.finish(next)?;
        tell(format_args!(
            "imported into {}: {count} jobs, results, recurring jobs, functions and policies",
            directory.display()
        ));
        Ok(())
    }
}

/// What a server would leave out at its start, or refuse an operator, must not be taken now. `policies`: those that came
/// before.
fn check(now: Timestamp, record: &Record<'static>, policies: usize) -> Result<(), String> {
    let checked = match record {
        Record::Scheduled { .. } => {
            let mut engine = Engine::new(Settings::default(), Seed { first_job: JobId(1), hash: 0 });
            engine.restore(now, record.clone())
        }
        Record::Policy { pattern, .. } => check_pattern(pattern, policies),
        _ => Ok(()),
    };
    checked.map_err(|refusal| refusal.to_string())
}

struct Lines {
    name: String,
    input: Box<dyn BufRead>,
    number: u64,
    text: Vec<u8>,
}

impl Lines {
    /// The next line that is not blank.
    fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            self.text.clear();
            let read = self.input.read_until(b'\n', &mut self.text);
            if read.map_err(|error| Failure::usage(format!("{}: {error}", self.name)))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let line = self.text.trim_ascii();
            if !line.is_empty() {
                return Line::read(line).map(Some).map_err(|why| self.refuse(why));
            }
        }
    }

    fn refuse(&self, why: impl std::fmt::Display) -> Failure {
        Failure::refused(format!("{}, line {}: {why}. Nothing was imported", self.name, self.number))
    }
}
