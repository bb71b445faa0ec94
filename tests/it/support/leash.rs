//! Child processes that can't outlive the tests.
//!
//! A test process may be killed, and then nobody runs a destructor. So each child is held by a small
//! shell at the other end of a pipe: when the pipe closes, for whatever reason, the shell kills the child.

use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Kills process `pid` when this process goes away; call [`Leash::release`] before the pid is reaped.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
}

impl Leash {
    /// Puts a child of ours on the leash.
    pub fn hold(pid: u32) -> Self {
        // `read` succeeds for the line of `release` and fails at the end of the pipe.
        let shell = Command::new("sh")
            .args(["-c", r#"read -r _ || kill -9 "$0""#, &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Self { shell }
    }

    /// Lets go without killing.
    pub fn release(mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // The shell is gone already only when somebody killed it; then there is nothing to let go of.
            if let Err(error) = pipe.write_all(b"released\n") {
                eprintln!("leash: {error}");
            }
        }
        self.shell.wait().expect("the leash's shell ends");
    }
}

/// Sends a signal, such as `TERM`, by the shell's own `kill`.
pub fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    Command::new("sh")
        // A process that is gone already is no fault: the caller waits for its end anyway.
        .args([
            "-c",
            r#"name=$1; shift; for pid; do kill -s "$name" "$pid" 2>/dev/null; done; true"#,
        ])
        .arg("signal")
        .arg(name)
        .args(&pids)
        .status()
        .expect("sh starts");
}

/// Whether a process runs: a zombie doesn't.
pub fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// Whether a process was stopped by a signal, so that it forks no more.
pub fn stands_still(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// The processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| stat(*pid).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself.
    let rest = &line[line.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
