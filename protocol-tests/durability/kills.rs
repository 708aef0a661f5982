//! kill -9 of the real server, again and again, on data that lives through all of it.
//!
//! Each round starts the server, looks at what it has kept, puts it under load, and kills it at a moment that
//! follows from the seed. The number of kills: `GEARHOUSE_KILLS` (200); the first seed: `GEARHOUSE_KILL_SEED` (1).
//! A fault is told with its seed, and the data directory is left where it is.

mod check;
mod job;
mod ledger;
mod load;
mod operator;
mod submitter;
mod wire;
mod worker;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::support::{Server, now};

use self::check::{Then, look};
use self::ledger::Ledger;
use self::load::Load;

#[test]
fn every_acknowledged_job_outlives_kills_of_the_server() {
    let (kills, first) = (setting("GEARHOUSE_KILLS", 200), setting("GEARHOUSE_KILL_SEED", 1));
    let began = now();
    let mut long = Data::new();
    let mut short = Data::new();
    for seed in first..first + kills {
        // Now and then data that is new: the first start of all is one in which a server can be killed too.
        let data = if seed % 10 < 2 { &mut short } else { &mut long };
        data.round(seed);
        if seed % 10 == 1 {
            std::mem::replace(&mut short, Data::new()).close(seed);
        }
        if seed % 100 == 0 {
            eprintln!("{} kills in {:?}: {:?}", seed + 1 - first, began.elapsed(), long.ledger.counts);
        }
    }
    long.close(first + kills);
    short.close(first + kills);
}

pub fn setting(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A data directory and what is known of it.
struct Data {
    directory: Option<tempfile::TempDir>,
    ledger: Ledger,
    life: u64,
}

impl Data {
    fn new() -> Data {
        Data { directory: Some(tempfile::tempdir().unwrap()), ledger: Ledger::default(), life: 0 }
    }

    fn path(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// One life of the server, and its end.
    fn round(&mut self, seed: u64) {
        let mut random = Rng::with_seed(seed);
        if random.u32(..100) < 15 {
            self.kill_early(&mut random);
        }
        let (mut server, known) = self.look(seed, &mut random, Then::Any);
        let load = Load::start(server.address(), random.u64(..), self.life, known);
        let moment = if random.bool() { random.u64(..30_000) } else { random.u64(..300_000) };
        std::thread::sleep(Duration::from_micros(moment));
        match random.u32(..100) {
            0..85 => {
                drop(server);
                self.ledger.after(&load.finish(), false);
            }
            // In the middle of an orderly stop.
            85..93 => {
                server.signal(Signal::SIGTERM);
                std::thread::sleep(Duration::from_micros(random.u64(..40_000)));
                drop(server);
                self.ledger.after(&load.finish(), false);
            }
            // An orderly stop, after which all is safe that was said.
            _ => {
                let events = load.stop();
                server.signal(Signal::SIGTERM);
                let status = server.wait();
                assert!(status.success(), "seed {seed}: {status}");
                self.ledger.after(&events, true);
            }
        }
    }

    /// Kills servers while they start.
    fn kill_early(&self, random: &mut Rng) {
        for _ in 0..random.u32(1..4) {
            let mut server = Command::new(env!("CARGO_BIN_EXE_gearhouse"))
                .args(["serve", "--http", "off", "--listen", "127.0.0.1:0", "--data-dir"])
                .arg(self.path())
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(random.u64(..60_000)));
            server.kill().unwrap();
            let status = server.wait().unwrap();
            assert!(status.code().is_none(), "it ended by itself, with {status}");
        }
    }

    fn look(&mut self, seed: u64, random: &mut Rng, then: Then) -> (Server, Vec<String>) {
        self.life += 1;
        let server = Server::serve(&["--data-dir", self.path().to_str().unwrap()]);
        let known = look(&server, &mut self.ledger, random.fork(), self.life << 32 | 0xff << 24, then);
        let faults = std::mem::take(&mut self.ledger.faults);
        let shown = faults.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(faults.is_empty(), "seed {seed}, {} faults:\n{shown}", faults.len());
        (server, known)
    }

    /// The last look: all that is left is looked into.
    fn close(mut self, seed: u64) {
        let (mut server, _) = self.look(seed, &mut Rng::with_seed(seed), Then::Empty);
        server.signal(Signal::SIGTERM);
        assert!(server.wait().success());
        let verify = Command::new(env!("CARGO_BIN_EXE_gearhouse"))
            .args(["store", "verify", "--data-dir"])
            .arg(self.path())
            .output()
            .unwrap();
        assert!(verify.status.success(), "store verify: {}", String::from_utf8_lossy(&verify.stderr));
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("the data is left in {}", directory.keep().display());
        }
    }
}
