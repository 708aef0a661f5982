//! The data directory: who may use it, and which files it holds.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::posix_fallocate;
use nix::sys::statfs::{AFS_SUPER_MAGIC, CODA_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
use nix::unistd::geteuid;

use super::wal;
use crate::store::StoreError;

/// The file that is locked.
const LOCK: &str = "lock";

/// The file that holds the jobs.
const JOBS: &str = "jobs.db";

/// What the file `lock` says, so that a file that goes missing is missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// There is a write-ahead log, and without it the last changes are not known.
    Running,
    /// All is in the file that holds the jobs.
    Stopped,
}

impl Use {
    /// As many bytes, so that one is written over the other whole or not at all.
    const fn text(self) -> &'static str {
        match self {
            Use::Running => "running\n",
            Use::Stopped => "stopped\n",
        }
    }
}

/// Bytes set aside for a full disk: what is gathered in memory and the ends of running jobs fit in.
const RESERVE: i64 = 16 << 20;

/// A data directory that no other process uses while this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing it is not enough if a child process was forked meanwhile: until that runs its own program it has the
        // file open too.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Takes the directory, made if there is none: readable by its owner only, since payloads may be private.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        make_directory(path).map_err(|source| fault(path, source))?;
        Self::lock_made(path)
    }

    /// Takes a directory that must hold a store already.
    pub fn lock_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.join(JOBS).exists() {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        Self::lock_made(path)
    }

    fn lock_made(path: &Path) -> Result<Self, StoreError> {
        check_owner(path)?;
        let lock_path = path.join(LOCK);
        // One that is there need not be writable to be locked: a copy on a read-only disk can be looked at.
        let lock = File::open(&lock_path).or_else(|_| make(&lock_path));
        let lock = lock.map_err(|source| fault(&lock_path, source))?;
        warn_of_network(path);
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { path: lock_path, source }),
        }
    }

    /// Sets space aside, in a file of its own, that is given up when the disk is full. Whether there is room.
    pub fn set_reserve_aside(&self) -> bool {
        let path = self.path.join("reserve");
        let made = File::options().create(true).truncate(false).write(true).open(&path).and_then(|file| {
            posix_fallocate(&file, 0, RESERVE)?;
            file.sync_all()
        });
        if made.is_err() {
            // What could be had is no use in part.
            let _ = fs::remove_file(&path);
        }
        made.is_ok()
    }

    /// Gives that space up; whether there was any.
    pub fn release_reserve(&self) -> bool {
        fs::remove_file(self.path.join("reserve")).is_ok()
    }

    /// Whether all files are there that must be, and the write-ahead log is no worse than a power cut leaves it.
    pub fn check(&self) -> Result<(), StoreError> {
        let said = fs::read(self.path.join(LOCK)).unwrap_or_default();
        let is = |use_: Use| said == use_.text().as_bytes();
        let is_marked = is(Use::Running) || is(Use::Stopped);
        let (log, journal) = (self.beside("-wal"), self.beside("-journal"));
        let has_content = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let damaged = |path, what: &str| Err(StoreError::Damaged { path, what: what.to_owned() });
        if !has_content(&self.jobs()) && (is_marked || has_content(&log)) {
            return damaged(self.jobs(), "it is missing or empty, and there was a store here");
        }
        if is(Use::Running) && !log.exists() {
            return damaged(log, "it is missing, and it held the last changes before a crash");
        }
        match wal::damage(&log) {
            // A store that is being made, or an import that was broken off, is another matter.
            Ok(None)
                if is_marked
                    && !has_content(&log)
                    && !has_content(&journal)
                    && is_cut_short(&self.jobs()) =>
            {
                damaged(self.jobs(), "it is shorter than it was written")
            }
            Ok(None) => Ok(()),
            Ok(Some(what)) => damaged(log, &what),
            Err(source) => Err(StoreError::Io { path: log, source }),
        }
    }

    /// Notes how the files are used.
    pub fn mark(&self, use_: Use) -> Result<(), StoreError> {
        let path = self.path.join(LOCK);
        let marked = File::options().write(true).open(&path).and_then(|mut file| {
            file.write_all(use_.text().as_bytes())?;
            file.sync_all()
        });
        marked.map_err(|source| fault(&path, source))
    }

    /// Makes the files that SQLite would make: it does not say why it cannot.
    pub fn make_files(&self) -> Result<(), StoreError> {
        for path in [self.jobs(), self.beside("-wal")] {
            make(&path).map_err(|source| fault(&path, source))?;
        }
        Ok(())
    }

    /// Makes safe which files there are. SQLite does so when it makes its write-ahead log, but does not say if it fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|source| StoreError::Io { path: self.path.clone(), source })
    }

    /// Makes the file that holds the jobs, empty, if there is none.
    pub fn make_jobs(&self) -> Result<(), StoreError> {
        let path = self.jobs();
        make(&path).map(drop).map_err(|source| StoreError::Io { path, source })
    }

    /// The file that holds the jobs.
    pub fn jobs(&self) -> PathBuf {
        self.path.join(JOBS)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file beside the one that holds the jobs: its write-ahead log and the like.
    pub fn beside(&self, ending: &str) -> PathBuf {
        self.path.join(format!("{JOBS}{ending}"))
    }
}

/// Whether a database whose write-ahead log is empty lacks pages that its head counts. What cannot be read is told by
/// SQLite.
fn is_cut_short(path: &Path) -> bool {
    let mut head = [0; 100];
    let read =
        File::open(path).and_then(|mut file| file.read_exact(&mut head).and_then(|()| file.metadata()));
    let Ok(found) = read else { return false };
    let page = u64::from(u16::from_be_bytes([head[16], head[17]]));
    let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
    // The count holds if the last who changed the file knew of it.
    head[24..28] == head[92..96] && found.len() < page * pages
}

fn fault(path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull => StoreError::Full { path: path.to_owned() },
        _ => StoreError::Io { path: path.to_owned(), source },
    }
}

/// Makes a file that the directory's owner can use, also if root makes it: the server comes later, as that user.
fn make(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    if let (true, Some(directory)) = (geteuid().is_root(), path.parent()) {
        let owner = fs::metadata(directory)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

/// Makes a directory and those above it that are missing. A crash must not lose them: that would be to lose what is in
/// them.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(above)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

/// What a server elsewhere calls written need not be on its disk, and two machines may not see each other's locks.
fn warn_of_network(path: &Path) {
    let networks = [
        (NFS_SUPER_MAGIC, "NFS"),
        (SMB_SUPER_MAGIC, "SMB"),
        (CODA_SUPER_MAGIC, "Coda"),
        (AFS_SUPER_MAGIC, "AFS"),
    ];
    // A system that does not tell warns of nothing.
    let Ok(found) = statfs(path) else { return };
    if let Some((_, name)) = networks.iter().find(|(kind, _)| *kind == found.filesystem_type()) {
        tracing::warn!(
            "{} is on {name}: what is acknowledged there is as safe as that server makes it; a local disk is better",
            path.display()
        );
    }
}

/// Root may use any directory; anyone else only their own, or files made now could not be opened later.
fn check_owner(path: &Path) -> Result<(), StoreError> {
    let metadata: io::Result<fs::Metadata> = fs::metadata(path);
    let owner = metadata.map_err(|source| StoreError::Io { path: path.to_owned(), source })?.uid();
    let user = geteuid().as_raw();
    if user == 0 || user == owner {
        return Ok(());
    }
    Err(StoreError::Owner { path: path.to_owned(), owner, user })
}
