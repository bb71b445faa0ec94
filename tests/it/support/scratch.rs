//! Where the throw-away databases and brokers of the tests keep their files.

use std::path::Path;
use std::sync::LazyLock;

use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

/// How much must be free in memory for all the servers of one run: it takes a fifth of that.
const ENOUGH: u64 = 4 << 30;

/// A disk that many servers sync at once stands still for seconds on some machines. The daemon rightly
/// answers 503 then, and a test that asks for something else fails. What is killed here is a process, never
/// the machine: files in memory outlive it exactly as those on a disk do.
static PLACE: LazyLock<&Path> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let free = statvfs(memory).map_or(0, |it| {
        // Their types differ between systems.
        #[allow(clippy::useless_conversion)]
        u64::from(it.blocks_available()).saturating_mul(u64::from(it.fragment_size()))
    });
    if free >= ENOUGH { memory } else { Path::new("/tmp") }
});

/// A new folder for a server's files, removed when it is dropped. Its path is short: a Unix socket's must
/// have less than 108 bytes, so it isn't in a deep TMPDIR.
pub fn scratch(name: &str) -> TempDir {
    let prefix = format!("hookonce-{name}-");
    tempfile::Builder::new().prefix(&prefix).tempdir_in(*PLACE).expect("a folder can be made")
}
