//! Instructions that the server spends on a job, counted by valgrind and compared with benches/instructions.toml.
//!
//! Wall time on a shared machine wanders by more than what most changes cost; counts do not. What is counted is the
//! whole way of a job but for the socket: bytes, codec, broker, engine, outbox.
//!
//! ```sh
//! cargo count            # compares
//! cargo count --store    # stores new figures
//! ```

mod support;

#[path = "instructions/counts.rs"]
mod counts;
#[path = "instructions/paths.rs"]
mod paths;
#[path = "instructions/server.rs"]
mod server;

use std::process::ExitCode;

use clap::Parser;

/// Counts the instructions of a job's way through the server and compares them with benches/instructions.toml.
#[derive(Parser)]
struct Options {
    /// Store the figures instead of comparing them.
    #[arg(long)]
    store: bool,
    /// Carry out one path; for valgrind, which counts it.
    #[arg(long, hide = true)]
    run: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.run {
        Some(path) => {
            paths::run(&path);
            Ok(())
        }
        None if options.store => counts::store(),
        None => counts::compare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
