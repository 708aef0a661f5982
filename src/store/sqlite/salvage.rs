//! Makes a new store of all that is whole in a damaged one, and tells what is gone.

use std::io;
use std::path::Path;

use super::directory::Directory;
use super::found::{Found, TABLES};
use super::import::Import;
use super::pages::Pages;
use super::replace::Replacement;
use super::{schema, verify};
use crate::engine::Record;
use crate::store::StoreError;
use crate::types::JobId;

/// If anything is damaged, puts a new store in the place of the one in this directory.
pub(super) fn salvage(directory: &Directory) -> Result<(), StoreError> {
    let Some(fault) = look(directory)? else { return Ok(()) };
    let replacement = Replacement::begin(directory)?;
    let mut import = Import::begin(&replacement.store())?;
    let mut gone = Vec::new();
    let next = read(directory, fault, &mut |record| import.add(&record).map(drop), &mut |what| {
        tracing::warn!("{}: {what}", directory.jobs().display());
        gone.push(what);
    })?;
    import.finish(next)?;
    replacement.put_in_place(&gone)
}

/// Passes on all that is whole in the store in this directory, whatever is wrong with the rest, with payloads; tells
/// what is not; changes nothing. Returns a number beyond all that were given out.
///
/// # Errors
/// There is no store, it is in use, someone else's, of a newer format, or not one row of it is whole.
pub fn rescue(
    path: &Path,
    each: &mut dyn FnMut(Record<'static>),
    tell: &mut dyn FnMut(String),
) -> Result<JobId, StoreError> {
    let directory = Directory::lock_existing(path)?;
    if has_content(&directory, "-journal") {
        return Err(StoreError::HalfMade { path: path.to_owned() });
    }
    let fault = match directory.check() {
        Err(fault @ StoreError::Damaged { .. }) => fault,
        checked => {
            checked?;
            StoreError::Foreign { path: directory.jobs() }
        }
    };
    let mut add = |record| {
        each(record);
        Ok(())
    };
    read(&directory, fault, &mut add, tell)
}

fn read(
    directory: &Directory,
    fault: StoreError,
    add: &mut dyn FnMut(Record<'static>) -> Result<(), StoreError>,
    tell: &mut dyn FnMut(String),
) -> Result<JobId, StoreError> {
    let (file, log) = (directory.jobs(), directory.beside("-wal"));
    if let Err(error @ StoreError::Newer { .. }) = schema::open_to_read(&file, false) {
        return Err(error);
    }
    let is_log_missing = matches!(&fault, StoreError::Damaged { path, .. } if *path == log && !log.exists());
    let roots = schema::roots(TABLES).map_err(|error| super::from_sqlite(&file, &error))?;
    let pages = match Pages::open(&file, &log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nothing(directory, fault)),
        opened => opened.map_err(|source| StoreError::Io { path: file, source })?,
    };
    let found = Found::read(&pages, roots, is_log_missing);
    if found.is_nothing() {
        return Err(nothing(directory, fault));
    }
    found.pass_on(add, tell)
}

fn has_content(directory: &Directory, ending: &str) -> bool {
    directory.beside(ending).metadata().is_ok_and(|file| file.len() > 0)
}

/// What is wrong first; all of it is told.
fn look(directory: &Directory) -> Result<Option<StoreError>, StoreError> {
    let jobs = directory.jobs();
    match directory.check() {
        Err(StoreError::Damaged { path, what }) => {
            tracing::warn!("{} is damaged: {what}", path.display());
            return Ok(Some(StoreError::Damaged { path, what }));
        }
        checked => checked?,
    }
    if !has_content(directory, "") {
        return Ok(None);
    }
    if has_content(directory, "-journal") {
        // Undoes an import that was broken off.
        drop(schema::open(&jobs)?);
    }
    let connection = match schema::open_to_read(&jobs, has_content(directory, "-wal")) {
        Ok(connection) => connection,
        Err(error @ StoreError::Io { .. }) => return Err(error),
        // Its making was broken off before there was anything in it.
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Ok(Some(error)),
    };
    let mut first = None;
    let verified = verify::verify(&connection, &mut |fault| {
        tracing::warn!("{} is damaged: {fault}", jobs.display());
        first.get_or_insert_with(|| fault.to_string());
    });
    let what = first.or_else(|| verified.err().map(|error| error.to_string()));
    Ok(what.map(|what| StoreError::Damaged { path: jobs, what }))
}

fn nothing(directory: &Directory, fault: StoreError) -> StoreError {
    match fault {
        StoreError::Damaged { what, .. } => StoreError::Unsalvageable { path: directory.jobs(), what },
        other => other,
    }
}
