//! Giving up root for `--user`.

use std::ffi::CString;
use std::io;

use nix::unistd::{
    Gid, Uid, User, getegid, geteuid, getgroups, initgroups, setegid, seteuid, setgid, setgroups, setuid,
};

/// The user the server becomes.
#[derive(Debug)]
pub(super) struct Account {
    name: CString,
    uid: Uid,
    gid: Gid,
}

/// Why a user can't be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("only root can switch to another user: start as root, or leave --user out")]
    NotRoot,
    #[error("could not find user '{0}'")]
    Unknown(String),
    #[error("could not look up user '{name}': {source}")]
    Lookup { name: String, source: io::Error },
}

impl Account {
    /// Looks the user up. Fails too when this process may not become anyone.
    pub(super) fn find(name: &str) -> Result<Self, UserError> {
        if !geteuid().is_root() {
            return Err(UserError::NotRoot);
        }
        let user = User::from_name(name)
            .map_err(|error| UserError::Lookup { name: name.to_owned(), source: error.into() })?
            .ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        let name = CString::new(user.name).map_err(|_| UserError::Unknown(name.to_owned()))?;
        Ok(Self { name, uid: user.uid, gid: user.gid })
    }

    /// Does something with this user's rights, then takes root's back: a file opened so is one the server can
    /// open again later, and root is not led to write where the user put a link. To be called while the process
    /// has one thread.
    pub(super) fn lend<T>(&self, what: impl FnOnce() -> T) -> io::Result<T> {
        let (groups, gid, uid) = (getgroups()?, getegid(), geteuid());
        initgroups(&self.name, self.gid)?;
        setegid(self.gid)?;
        seteuid(self.uid)?;
        let result = what();
        seteuid(uid)?;
        setegid(gid)?;
        setgroups(&groups)?;
        Ok(result)
    }

    /// Becomes this user, in all threads and for good, with the user's groups and no other.
    pub(super) fn assume(&self) -> io::Result<()> {
        initgroups(&self.name, self.gid)?;
        setgid(self.gid)?;
        setuid(self.uid)?;
        Ok(())
    }
}
