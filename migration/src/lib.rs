//! The history of hookonce's tables, for PostgreSQL and SQLite.
//!
//! Imports nothing of ours: rows change, history must not. See `migration/README.md`.

pub use sea_orm_migration::{MigrationStatus, MigratorTrait};

use sea_orm_migration::prelude::*;

mod answer;
mod captured_secret;
mod conflict_watch;
mod dedupe_group;
mod grace;
mod ground;
mod handler_pause;
mod idempotency_cache;
mod idempotency_key;
mod lanes;
mod lean;
mod replay;
mod replay_run;
mod skipped;
mod turn;
mod version;

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(ground::Ground),
            Box::new(lean::Lean),
            Box::new(replay::Replay),
            Box::new(captured_secret::CapturedSecret),
            Box::new(lanes::Lanes),
            Box::new(skipped::Skipped),
            Box::new(idempotency_key::IdempotencyKey),
            Box::new(replay_run::ReplayRun),
            Box::new(handler_pause::HandlerPause),
            Box::new(answer::Answer),
            Box::new(idempotency_cache::IdempotencyCache),
            Box::new(version::Version),
            Box::new(grace::Grace),
            Box::new(turn::Turn),
            Box::new(dedupe_group::DedupeGroup),
            Box::new(conflict_watch::ConflictWatch),
        ]
    }
}
