//! The `gearhouse` command: a switch between its command lines.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Gives memory back when a backlog has gone, where the C library's keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let all: Vec<OsString> = std::env::args_os().collect();
    let is_called_gearmand =
        all.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "gearmand");
    let names_gearmand = all.get(1).is_some_and(|word| word == "gearmand");
    match (is_called_gearmand, names_gearmand) {
        (true, _) => gearhouse::gearmand::main(all.into_iter().skip(1).collect()),
        (false, true) => gearhouse::gearmand::main(all.into_iter().skip(2).collect()),
        (false, false) => gearhouse::cli::main(all),
    }
}
