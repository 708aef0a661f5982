//! The file that tells others which process to signal.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

/// A pid file of this process. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes this process's id as a line of its own.
    pub(super) fn write(path: &Path) -> io::Result<Self> {
        let mut file = fs::File::create(path)?;
        file.write_all(content().as_bytes())?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Only what we wrote: a successor may have written its own meanwhile, and a device such as /dev/null is
        // not ours to remove.
        let is_file = fs::metadata(&self.path).is_ok_and(|found| found.is_file());
        if is_file && fs::read_to_string(&self.path).is_ok_and(|found| found == content()) {
            // Nobody is left to tell, and the directory may not be writable for the user we have become.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn content() -> String {
    format!("{}\n", process::id())
}
