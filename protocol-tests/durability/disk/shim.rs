//! Builds the shim and puts a program behind it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static SHIM: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/durability/disk/shim.c");
    let built = folder.path().join("shim.so");
    let cc = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&built, &source])
        .output();
    let cc = cc.expect("there is no C compiler `cc`: run protocol-tests/setup");
    assert!(cc.status.success(), "shim.c is not compiled:\n{}", String::from_utf8_lossy(&cc.stderr));
    (folder, built)
});

/// A directory for a store, with what the shim reads and writes beside it.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir_in(quick_place()).unwrap() };
        std::fs::create_dir(bench.store()).unwrap();
        bench
    }

    /// The data directory.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        // SQLite follows links before it opens a file; the shim compares names.
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// Puts a program behind the shim. `records`: with a trace.
    pub fn put_between(&self, command: &mut Command, records: bool) {
        command
            .env("LD_PRELOAD", &SHIM.1)
            .env("DISK_UNDER", self.store())
            .env("DISK_FAULT", self.path("fault"));
        if records {
            command.env("DISK_TRACE", self.path("trace")).env("DISK_MARKS", self.path("marks"));
        }
    }

    /// From now on this fails; see `shim.c` for the form.
    pub fn fail(&self, fault: &str) {
        // Renamed into place, so that no half of it is read.
        std::fs::write(self.path("fault.new"), fault).unwrap();
        std::fs::rename(self.path("fault.new"), self.path("fault")).unwrap();
    }

    /// From now on nothing fails.
    pub fn relieve(&self) {
        let _ = std::fs::remove_file(self.path("fault"));
    }

    pub fn trace(&self) -> Vec<super::trace::Event> {
        super::trace::read(&self.path("trace"))
    }
}

/// Thousands of images are laid down: in memory, if the machine has such a place.
pub fn quick_place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
