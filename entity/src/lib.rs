//! The rows of hookonce: what a column can hold.
//!
//! Ground floor: depends on sea-orm, uuid and chrono, and on nothing of ours. Operators query these
//! tables with SQL, so the columns are part of the contract (see `docs/operate.md`).

pub mod name;
pub mod state;

pub mod attempt;
pub mod dedupe_group;
pub mod delivery;
pub mod event;
pub mod event_body;
pub mod event_conflict;
pub mod idempotency_key;
pub mod rejection;
pub mod replay_run;
pub mod upkeep_run;

pub use name::{Name, NameError};
pub use state::{State, TryOutcome};
