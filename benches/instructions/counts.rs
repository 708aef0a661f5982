//! Has valgrind count, and holds what it counted against the stored figures.
//!
//! What makes figures of two machines comparable: only `paths::counted` is counted, neither start nor set-up; tables
//! are seeded; the allocator gives nothing back by the clock; the C library copies with the same routine on every
//! processor (left to choose by itself it makes a difference of 3 to 6 %). So two runs differ by nothing at all. What is
//! left is another compiler, which makes other code, and, a little, another C library.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

use crate::paths::{JOBS, PATHS};

/// How far a figure may be from the stored one, in per cent, to either side: a gain that is not stored would let
/// as much be lost again unseen.
const TOLERANCE: f64 = 2.0;

const STORE: &str = "cargo count --store";

/// What cannot be done, or what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("valgrind cannot be run ({0}): install it, or have protocol-tests/setup install it")]
    NoValgrind(io::Error),
    #[error("valgrind could not count {path}:\n{said}")]
    NotCounted { path: &'static str, said: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {source}", path.display())]
    NotUnderstood { path: PathBuf, source: toml::de::Error },
    #[error("{0}")]
    Differs(String),
}

/// benches/instructions.toml.
#[derive(Deserialize, Serialize)]
struct Stored {
    /// The compiler of the figures.
    compiler: String,
    /// Processor architecture -> path -> instructions a job.
    instructions: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Counts all paths and stores the figures of this architecture.
pub fn store() -> Result<(), Error> {
    let mut figures = BTreeMap::new();
    for path in &PATHS {
        let counted = count(path.name)?;
        println!("{:<20} {counted:>7}", path.name);
        figures.insert(path.name.to_owned(), counted);
    }
    let file = file();
    // Other architectures' figures of another compiler say nothing.
    let mut stored = read(&file)
        .ok()
        .filter(|stored| stored.compiler == compiler())
        .unwrap_or_else(|| Stored { compiler: compiler(), instructions: BTreeMap::new() });
    stored.instructions.insert(env::consts::ARCH.to_owned(), figures);
    let text = toml::to_string(&stored).expect("a table of numbers can be written");
    let text = format!("# Instructions a job. Written by `{STORE}`.\n{text}");
    fs::write(&file, text).map_err(|source| Error::File { path: file, source })
}

/// Counts all paths and compares.
pub fn compare() -> Result<(), Error> {
    let stored = read(&file())?;
    let Some(figures) = stored.instructions.get(env::consts::ARCH) else {
        println!("NOT COMPARED: there are no figures for {}; `{STORE}` stores them", env::consts::ARCH);
        return Ok(());
    };
    let mut wrong = String::new();
    for path in &PATHS {
        let counted = count(path.name)?;
        let Some(stored) = figures.get(path.name) else {
            let _ = writeln!(wrong, "{}: {counted} instructions a job, none stored", path.name);
            continue;
        };
        let change = (counted as f64 / *stored as f64 - 1.0) * 100.0;
        println!("{:<20} {counted:>7} {change:>+7.2} %", path.name);
        if change.abs() > TOLERANCE {
            let _ =
                writeln!(wrong, "{}: {stored} -> {counted} instructions a job ({change:+.1} %)", path.name);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let _ = write!(
        wrong,
        "More than {TOLERANCE} % from benches/instructions.toml. If that is meant, gain or loss, store the new \
         figures and commit them: {STORE}"
    );
    let compiler = compiler();
    if compiler != stored.compiler {
        let _ = write!(
            wrong,
            "\nThe stored figures are of {}, these of {compiler}: that alone may be the reason.",
            stored.compiler
        );
    }
    Err(Error::Differs(wrong))
}

/// Has valgrind count one path. Instructions a job.
fn count(path: &'static str) -> Result<u64, Error> {
    let out =
        tempfile::NamedTempFile::new().map_err(|source| Error::File { path: env::temp_dir(), source })?;
    let own = env::current_exe().map_err(|source| Error::File { path: "this program".into(), source })?;
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=instructions::paths::counted"])
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(own)
        .args(["--run", path])
        // No one's settings for the allocator, and the start of the stack, come along.
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS")
        .env("MALLOC_CONF", "background_thread:false,dirty_decay_ms:-1,muzzy_decay_ms:-1")
        .output()
        .map_err(Error::NoValgrind)?;
    let profile = fs::read_to_string(out.path()).unwrap_or_default();
    let total = profile.lines().find_map(|line| line.strip_prefix("summary: ")?.parse::<u64>().ok());
    match total {
        Some(total) if total > 0 && ran.status.success() => Ok(total / JOBS),
        _ => Err(Error::NotCounted { path, said: String::from_utf8_lossy(&ran.stderr).into_owned() }),
    }
}

fn read(path: &Path) -> Result<Stored, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })?;
    toml::from_str(&text).map_err(|source| Error::NotUnderstood { path: path.into(), source })
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml")
}

/// As `rustc --version` tells.
fn compiler() -> String {
    let said = Command::new("rustc").arg("--version").output();
    said.map_or_else(
        |_| "an unknown compiler".into(),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}
