//! Conformance of the store: every function, on PostgreSQL and on SQLite alike.

mod birth;
mod browse;
mod claim;
mod cleanup;
pub mod ground;
mod held;
mod lane;
mod lane_storm;
mod migrate;
mod outage;
mod partitions;
mod pause;
mod pg_cron;
mod plan;
mod record;
mod rejection;
mod replay;
mod replay_run;
mod replay_storm;
mod rescue;
mod safety;
mod settle;
mod submission;
mod suspect;
mod trap;
mod turns;
mod upkeep_run;
