//! `gearhouse store verify`: what is not as it was written.

use std::io::{self, Write};
use std::path::Path;

use super::{Failure, written};
use crate::store::sqlite::{Counts, Inspection};

pub(super) fn run(directory: &Path) -> Result<(), Failure> {
    let store = Inspection::open(directory)?;
    let file = store.file();
    let mut out = io::stdout().lock();
    let mut result = Ok(());
    let counts = store.verify(&mut |fault| {
        if result.is_ok() {
            result = writeln!(out, "{}: {fault}", file.display());
        }
    })?;
    let Counts { jobs, results, recurring, functions, policies, faults } = counts;
    let seen = [
        counted(jobs, "job", "jobs"),
        counted(results, "result", "results"),
        counted(recurring, "recurring job", "recurring jobs"),
        counted(functions, "function", "functions"),
        counted(policies, "policy", "policies"),
    ]
    .join(", ");
    let told = counted(faults, "fault", "faults");
    if faults > 0 {
        written(result)?;
        return Err(Failure::refused(format!(
            "{told}, beside {seen}. Nothing was changed. Restore a backup; or start the server once with \
             --salvage, which goes on with all that is whole and keeps the damaged files"
        )));
    }
    written(result.and_then(|()| writeln!(out, "{seen}: all as it was written")))
}

/// `1 job`, `2 jobs`.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}
