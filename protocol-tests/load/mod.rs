//! A load of many mixed jobs through unchanged client libraries, after which every job is accounted for. README.md
//! beside this file says what is played and what counts.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::library::built;
use crate::server::{Server, Target};

/// Two minutes are enough on two cores; the tests beside this one use the same cores.
const SECONDS: &str = "400";

#[test]
fn every_job_of_a_mixed_load_is_accounted_for() {
    let server = Server::start(Target::chosen()).unwrap_or_else(|problem| panic!("{problem}"));
    let address = server.address().to_string();
    let jobs = std::env::var("GEARHOUSE_LOAD_JOBS").unwrap_or_else(|_| "200000".into());
    let mut words = vec!["--address", &address, "--jobs", &jobs, "--seconds", SECONDS];
    if matches!(server.target(), Target::Gearmand(_)) {
        words.push("--gearmand");
    }
    if let Err(said) = load(&words) {
        panic!("{said}\n--- server\n{}", server.log());
    }
}

#[test]
fn the_accounts_of_a_load_find_every_way_of_spoiling_it() {
    load(&["--self-test"]).unwrap_or_else(|said| panic!("{said}"));
}

/// Runs the load program; what it said is the error if it failed.
fn load(words: &[&str]) -> Result<(), String> {
    let python = built().join("python/bin/python");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/load/run");
    let output = Command::new(&python)
        .arg(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}: run protocol-tests/setup", python.display()))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    print!("{said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}
