//! One daemon a SQLite file: SQLite itself would let two write in turns, and both would claim.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// An advisory lock beside the database file; the kernel drops it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock or says who may hold it.
    pub(super) fn take(database: &Path) -> Result<Self, OpenError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let shown = path.display().to_string();
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(
                |error| {
                    OpenError::Locked(format!("the lock file {shown} can't be opened: {error}"))
                },
            )?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked(format!(
                "another hookonce works on {}; stop it, or give this one a database of its own (PostgreSQL serves any number of replicas)",
                database.display()
            ))),
            Err(TryLockError::Error(error)) => {
                Err(OpenError::Locked(format!("the lock file {shown} can't be locked: {error}")))
            }
        }
    }
}
