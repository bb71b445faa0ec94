//! The one integration binary. Its tree mirrors the rooms; `support` is the ground.
//!
//! Every test that needs a database runs on PostgreSQL and on SQLite, both real ones.

// Clippy's exceptions for tests cover functions marked as tests, not what they are made of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
// Outside of the daemon these two harm nobody: the starters of servers have no runtime.
#![allow(clippy::disallowed_methods, clippy::large_futures)]
#![allow(missing_docs, unreachable_pub)]

mod support;

mod app;
mod cli;
mod daemon;
mod embed;
mod ground;
mod idempotency;
mod intake;
mod measure;
mod readme;
mod replicas;
mod sql;
mod store;
mod testing;
mod tidy;
mod torture;
mod transform;
