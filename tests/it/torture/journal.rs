//! What the client knows to be acked, on its own disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

/// One id a line, synced before the next request of its sender.
#[derive(Debug)]
pub struct Journal {
    dir: tempfile::TempDir,
    file: Mutex<File>,
}

impl Journal {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hookonce-journal-").tempdir().unwrap();
        let file = File::create(dir.path().join("acks")).unwrap();
        Self { dir, file: Mutex::new(file) }
    }

    /// Returns when the id is on the disk.
    pub fn write(&self, id: &str) {
        let mut file = self.file.lock().unwrap();
        file.write_all(format!("{id}\n").as_bytes()).unwrap();
        file.sync_data().unwrap();
    }

    /// Every id so far, as the file has them.
    pub fn acked(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.dir.path().join("acks")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}
