//! The public listener of the whole program: every answer of the contract, and what is stored for it.

mod answers;
mod away;
mod batches;
mod bytes;
mod captures;
mod catalogue;
mod elsewhere;
mod handshakes;
mod identity;
mod near;
mod providers;
mod rejections;
mod vectors;
mod wire;

use crate::support::{DaemonPlan, Signer, TestDatabase};

pub const STRIPE: &str = "/in/stripe";
pub const GITHUB: &str = "/in/github";

/// A daemon with these sources, all going to the log.
pub fn logged(db: &TestDatabase, providers: &[&'static str]) -> DaemonPlan {
    let mut plan = DaemonPlan::on(db);
    for provider in providers {
        plan = plan.source(&Signer::of(provider));
    }
    let names: Vec<String> = providers.iter().map(|provider| format!("{provider:?}")).collect();
    plan.toml(&format!("[handlers.audit]\nfrom = [{}]\nlog = {{}}", names.join(", ")))
}

pub fn stripe() -> Signer {
    Signer::of("stripe")
}

pub fn github() -> Signer {
    Signer::of("github")
}

/// Rows of `event`.
pub async fn events(db: &TestDatabase) -> i64 {
    db.number("SELECT count(*) FROM event").await
}

/// Seconds since 1970, by the wall clock that freshness is judged with.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp()
}
