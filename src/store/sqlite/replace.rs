//! Puts a new store in the place of a damaged one, whose files are kept.
//!
//! The new one is made in `salvaging/new`. When it is whole that folder becomes `salvaged`: this is the moment from
//! which the new one counts. A start that finds it so moves the old files into it and the new one out of it, as far as
//! that was not done, and names it `damaged-1`, or by the next number that is free.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::directory::{Directory, Use, fault};
use crate::store::StoreError;

const MAKING: &str = "salvaging";
const MADE: &str = "salvaged";
const NEW: &str = "new";
const JOBS: &str = "jobs.db";

/// A new store, gone when this is dropped.
pub(super) struct Replacement<'a> {
    directory: &'a Directory,
    making: PathBuf,
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.making);
    }
}

impl<'a> Replacement<'a> {
    pub fn begin(directory: &'a Directory) -> Result<Self, StoreError> {
        let making = directory.path().join(MAKING);
        let replacement = Self { directory, making };
        replacement.make().map_err(|source| fault(&replacement.making, source))?;
        Ok(replacement)
    }

    fn make(&self) -> io::Result<()> {
        remove(&self.making)?;
        let mut maker = fs::DirBuilder::new();
        for path in [self.making.clone(), self.store()] {
            maker.mode(0o700).create(&path)?;
            give_to_owner(self.directory.path(), &path)?;
        }
        Ok(())
    }

    /// Where the new store is to be made.
    pub fn store(&self) -> PathBuf {
        self.making.join(NEW)
    }

    /// Takes the new store, which must be closed, in the place of the old one. What is `gone` is written beside the old
    /// files.
    pub fn put_in_place(self, gone: &[String]) -> Result<(), StoreError> {
        self.commit(gone).map_err(|source| fault(&self.making, source))?;
        finish(self.directory)
    }

    fn commit(&self, gone: &[String]) -> io::Result<()> {
        let list = self.making.join("gone.txt");
        fs::write(&list, gone.iter().flat_map(|line| [line, "\n"]).collect::<String>())?;
        give_to_owner(self.directory.path(), &list)?;
        let paths = [list, self.store().join(JOBS), self.store(), self.making.clone()];
        paths.iter().try_for_each(|path| sync(path))?;
        fs::rename(&self.making, self.directory.path().join(MADE))?;
        sync(self.directory.path())
    }
}

/// Whether a new store is there that is not in its place yet.
pub(super) fn is_half_done(directory: &Path) -> bool {
    directory.join(MADE).exists()
}

/// Ends what a crash broke off.
pub(super) fn finish(directory: &Directory) -> Result<(), StoreError> {
    if !is_half_done(directory.path()) {
        return Ok(());
    }
    let made = directory.path().join(MADE);
    place(directory, &made).map_err(|source| fault(&made, source))?;
    // Before the folder has its name, so that this is done again if it was not done.
    directory.mark(Use::Stopped)?;
    let aside = (1_u64..).map(|number| directory.path().join(format!("damaged-{number}")));
    let aside = aside.into_iter().find(|path| !path.exists()).unwrap_or_else(|| made.clone());
    let named = fs::rename(&made, &aside).and_then(|()| sync(directory.path()));
    named.map_err(|source| fault(&aside, source))?;
    tracing::warn!("{}: the damaged files are kept here, with a list of what is gone", aside.display());
    Ok(())
}

fn place(directory: &Directory, made: &Path) -> io::Result<()> {
    let new = made.join(NEW).join(JOBS);
    if new.exists() {
        // The log first: it must never stand beside a file that it was not written for.
        for ending in ["-wal", "-shm", "-journal", ""] {
            let old = directory.beside(ending);
            match fs::rename(&old, made.join(format!("{JOBS}{ending}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync(made)?;
        sync(directory.path())?;
        fs::rename(new, directory.jobs())?;
        sync(directory.path())?;
    }
    remove(&made.join(NEW))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Root may salvage what another user's server goes on with.
fn give_to_owner(directory: &Path, path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(directory)?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}
