//! The command line: what it prints, where, and how it exits.

mod browsing;
mod config;
mod judging;
mod mending;
mod recording;
mod rehearsing;
mod replaying;
mod sending;
mod stats;
mod trying;
mod verify;

use std::path::Path;
use std::time::Duration;

use crate::support::daemon::program;
use crate::support::{Daemon, DaemonPlan, Signer, TestDatabase};

pub const STRIPE: &str = "/in/stripe";
pub const PATIENCE: Duration = Duration::from_secs(60);

/// No cleanup between two statements of a test: the usual ones come every five minutes.
pub const NO_CLEANUP: &str = "[cleanup]\nschedule = \"@yearly\"";

pub fn stripe() -> Signer {
    Signer::of("stripe")
}

/// A daemon whose events go to the log, with three of them settled.
pub async fn with_three_events(db: &TestDatabase) -> Daemon {
    let daemon = DaemonPlan::on(db)
        .source(&stripe())
        .toml("[handlers.audit]\nfrom = \"stripe\"\nlog = {}")
        .toml(NO_CLEANUP)
        .start()
        .await;
    let sender = daemon.sender();
    for n in 1..=3 {
        let event = stripe().event(&format!("evt_{n}"), ["charge.failed", "invoice.paid"][n % 2]);
        sender.send(STRIPE, &event).await.assert_accepted();
    }
    sender.send(STRIPE, &stripe().event("evt_2", "charge.failed")).await.assert_duplicate();
    crate::support::daemon::wait_until_settled(db, PATIENCE).await;
    daemon
}

/// Runs the program in a folder; its exit code, standard output and standard error.
pub async fn run_in(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = program(dir, arguments).stdin(std::process::Stdio::null()).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it ended by itself"), text(&output.stdout), text(&output.stderr))
}
