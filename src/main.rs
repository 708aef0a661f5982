//! The `gearhouse` command.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let mut rest: Vec<OsString> = args.collect();
    if Path::new(&name).file_name().is_some_and(|name| name == "gearmand") {
        return gearhouse::gearmand::main(rest);
    }
    if rest.first().is_some_and(|word| word == "gearmand") {
        rest.remove(0);
        return gearhouse::gearmand::main(rest);
    }
    ExitCode::FAILURE
}
