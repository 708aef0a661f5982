//! The `gearhouse` command: a switch between its command lines.

use std::process::ExitCode;

fn main() -> ExitCode {
    gearhouse::cli::main(std::env::args_os())
}
