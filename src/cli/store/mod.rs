//! `gearhouse store`: the data directory of a server that does not run.

mod export;
mod import;
mod info;
mod verify;

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use crate::config::default_data_dir;
use crate::store::StoreError;

pub(super) const HELP: &str = "\
Examples:
  gearhouse store info --data-dir /var/lib/gearhouse
  gearhouse store verify                               exit code 1 if anything is damaged
  gearhouse store export --output jobs.jsonl           all that would survive a restart, as lines of JSON
  gearhouse store import --data-dir elsewhere jobs.jsonl

The server must not run: it has its data directory to itself.

Exit code: 0 done, 1 something is damaged or cannot be imported, 2 wrong use, or the store cannot be opened.";

#[derive(Args, Debug)]
pub(super) struct Store {
    /// The server's data directory [default: ./gearhouse-data, or systemd's state directory]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// What is kept: jobs by priority and function, sizes
    Info(info::Info),
    /// Look at every row, and tell what is not as it was written
    ///
    /// Nothing is changed.
    Verify,
    /// Write all that is kept as lines of JSON
    ///
    /// Everything that survives a restart is in them: docs/store-format.md describes each field. Nothing in the store
    /// is changed.
    Export(export::Export),
    /// Fill an empty store from such lines
    ///
    /// Numbers, and so handles, and the order of jobs stay as they were. All is imported, or nothing. A directory that
    /// is not there is made; one that holds jobs is refused.
    Import(import::Import),
}

impl Store {
    pub(super) fn run(self) -> Result<(), Failure> {
        let directory = self.data_dir.unwrap_or_else(default_data_dir);
        match self.command {
            Command::Info(info) => info.run(&directory),
            Command::Verify => verify::run(&directory),
            Command::Export(export) => export.run(&directory),
            Command::Import(import) => import.run(&directory),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::DamagedPages { .. } | StoreError::NotEmpty { .. } => {
                Failure::refused(error)
            }
            other => Failure::usage(other),
        }
    }
}

/// What was written to standard output, or why it could not be; `| head` has seen enough at some time.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure::usage(format!("cannot write the answer: {error}"))),
    }
}
