//! What can be wrong with a store, in words that say what to do.

use std::io;
use std::path::PathBuf;

/// Why a store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk. Nothing is lost; it may be tried again.
    #[error("the disk that holds {path} is full: free some space; background jobs are refused until then")]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("{path} is in use by a running server: stop that one, or choose another --data-dir")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// There is nothing to look at.
    #[error("{path} holds no store: name the server's directory with --data-dir")]
    Missing {
        /// The data directory.
        path: PathBuf,
    },
    /// Its making, or an import into it, was broken off.
    #[error(
        "{path} was left half made: import again, or start the server once, which goes on without that import"
    )]
    HalfMade {
        /// The data directory.
        path: PathBuf,
    },
    /// Nothing can be imported into a store that holds jobs: numbers and unique ids might be there twice.
    #[error("{path} holds jobs already: import into a directory that holds none")]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
    },
    /// A newer Gearhouse wrote it.
    #[error(
        "{path} was written by a newer version (format {found}, this one knows up to {known}): use that version"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: i64,
        /// The newest format version that this program reads.
        known: i64,
    },
    /// Not a store of ours.
    #[error("{path} is not a Gearhouse store: choose another --data-dir")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The directory belongs to someone else.
    #[error(
        "{path} belongs to user {owner}, this process runs as {user}: start it as that user, or change the owner"
    )]
    Owner {
        /// The data directory.
        path: PathBuf,
        /// The user id that owns it.
        owner: u32,
        /// The user id of this process.
        user: u32,
    },
    /// Something on the disk is not what was written.
    #[error(
        "{path} is damaged: {what}. Nothing was changed. Restore a backup, or start once with --salvage, which goes on \
         without what is damaged and says what that is"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What and where.
        what: String,
    },
    /// Something on the disk is not what was written, and it cannot be taken out.
    #[error(
        "{path} is damaged: {what}. Nothing was changed. Restore a backup; or take out what can be read by `gearhouse \
         store export --salvage`, and import that into an empty directory"
    )]
    DamagedPages {
        /// The file.
        path: PathBuf,
        /// What and where.
        what: String,
    },
    /// The system refused; for a running server this is final.
    #[error("{path}: {what}. The store is closed: check the disk, then start the server again")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system or the database said.
        what: String,
    },
    /// A file or directory cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
