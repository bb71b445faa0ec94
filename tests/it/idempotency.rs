//! Idempotency-Key: one run for a key, its answer for every retry, on both databases alike.

mod apart;
mod cache;
mod engine;
pub mod gateway;
mod gather;
mod middleware;
mod single_tx;
mod store;
mod together;
mod unclaimed;

use std::time::Duration;

use hookonce::store::idempotency::{KeyClaim, KeyId};

use crate::support::{Kind, TestDatabase};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn id(key: &str) -> KeyId {
    KeyId { scope: "pay:someone".to_owned(), key: key.to_owned() }
}

/// A wish to run what `request` stands for.
pub fn claim(key: &str, request: u8) -> KeyClaim {
    KeyClaim { id: id(key), request_hash: [request; 32], lease: MINUTE, ttl: 60 * MINUTE }
}

/// Moves a key's time into the past: tests move rows, not clocks.
pub async fn backdate(db: &TestDatabase, column: &str, key: &str) {
    let past = match db.kind() {
        Kind::Postgres => "clock_timestamp() - interval '1 minute'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-60 seconds')",
    };
    let moved =
        db.run(&format!("UPDATE idempotency_key SET {column} = {past} WHERE key = '{key}'")).await;
    assert_eq!(moved, 1, "{key} is there");
}
