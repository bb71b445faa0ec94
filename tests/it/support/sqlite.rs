//! A SQLite file of its own for a test.

use std::path::PathBuf;

use tempfile::TempDir;

use super::scratch::scratch;

/// A file in a directory that is removed with it.
#[derive(Debug)]
pub struct SqliteFile {
    dir: TempDir,
}

impl SqliteFile {
    /// A place where no file is yet: whoever opens it first makes it.
    pub fn new() -> Self {
        Self { dir: scratch("db") }
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("hookonce.db")
    }

    /// As the config writes it.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }
}
