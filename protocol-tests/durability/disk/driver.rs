//! A process of its own that runs a store through a script and says how far it came: this test program, called again.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use gearhouse::store::sqlite::SqliteStore;
use gearhouse::store::{Store, StoreError};
use gearhouse::types::JobId;
use rusqlite::Connection;

use super::script::{Model, Script};
use super::shim::Bench;

/// What a driver is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub batches: u32,
    pub ending: Ending,
}

/// How its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The store is closed.
    Close,
    /// The process is gone from one moment to the next.
    Kill,
}

/// Runs a driver to its end.
pub fn drive(bench: &Bench, plan: Plan) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "disk::driver::the_driving_process", "--nocapture", "--test-threads=1"]);
    bench.put_between(&mut command, true);
    let plan = format!("{} {} {:?}", plan.seed, plan.batches, plan.ending);
    let output = command.env("DISK_PLAN", plan).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the driver failed:\n{text}");
}

/// The hash by which the driver and who watches it compare what they know.
pub fn hash(model: &Model) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{model:?}").hash(&mut hasher);
    hasher.finish()
}

/// Not a test: the way into this program for the process that is driven. Without a plan there is nothing to do.
#[test]
fn the_driving_process() {
    let Ok(plan) = std::env::var("DISK_PLAN") else { return };
    let parts: Vec<&str> = plan.split(' ').collect();
    let ending = if parts[2] == "Close" { Ending::Close } else { Ending::Kill };
    let plan = Plan { seed: parts[0].parse().unwrap(), batches: parts[1].parse().unwrap(), ending };
    let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
    let marks = File::options().create(true).append(true).open(path("DISK_MARKS")).unwrap();
    let mut driver = Driver { marks, fault: path("DISK_FAULT") };
    driver.run(&path("DISK_UNDER"), plan);
}

struct Driver {
    marks: File,
    fault: PathBuf,
}

impl Driver {
    fn mark(&mut self, text: &str) {
        self.marks.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn run(&mut self, folder: &Path, plan: Plan) {
        let opened = SqliteStore::open(folder, false);
        let opened = opened.and_then(|mut store| Model::of(&mut store).map(|found| (store, found)));
        let (mut store, (model, first)) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.mark(&format!("refused {error:?}")),
        };
        self.mark(&format!("open {first} {}", hash(&model)));
        let mut script = Script::new(plan.seed, model, first);
        match self.keep_all(&mut store, &mut script, folder, plan) {
            Ok(()) if plan.ending == Ending::Close => drop(store),
            Ok(()) => std::process::exit(0),
            Err(error) => {
                self.mark(&format!("failed {error:?}"));
                // As the server does: the store is let go, and other threads have readers still.
                drop(store);
            }
        }
        self.mark("closed");
    }

    fn keep_all(
        &mut self,
        store: &mut SqliteStore,
        script: &mut Script,
        folder: &Path,
        plan: Plan,
    ) -> Result<(), StoreError> {
        let mut random = fastrand::Rng::with_seed(plan.seed ^ 0xD15C);
        let mut in_the_way: Option<Connection> = None;
        for n in 0..plan.batches {
            let batch = script.batch();
            self.mark(&format!("begin {n} {}", script.last_number()));
            while let Err(error) = store.append(&batch) {
                self.bear(error, &format!("full {n}"))?;
                store.use_reserve();
            }
            self.mark(&format!("end {n}"));
            match random.u32(..12) {
                // Someone reads for a while: checkpoints meanwhile are partial.
                0 if in_the_way.is_none() => in_the_way = Some(reading(folder)),
                0 | 1 => in_the_way = None,
                2 => {
                    in_the_way = None;
                    self.tidy(store)?;
                }
                3 if random.bool() => {
                    in_the_way = None;
                    while self.tidy(store)? {}
                }
                4 => {
                    let ids: Vec<JobId> = script.model().jobs.keys().take(5).copied().map(JobId).collect();
                    store.reader()?.read(&ids, &mut |_, body| assert!(body.is_some()))?;
                }
                5 => {
                    store.refill_reserve();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn tidy(&mut self, store: &mut SqliteStore) -> Result<bool, StoreError> {
        store.tidy().or_else(|error| self.bear(error, "full tidy").map(|()| true))
    }

    /// A full disk is relieved and tried again; anything else ends the run.
    fn bear(&mut self, error: StoreError, mark: &str) -> Result<(), StoreError> {
        if !matches!(error, StoreError::Full { .. }) {
            return Err(error);
        }
        self.mark(mark);
        let _ = std::fs::remove_file(&self.fault);
        Ok(())
    }
}

fn reading(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("jobs.db")).unwrap();
    connection.execute_batch("BEGIN; SELECT count(*) FROM job").unwrap();
    connection
}
