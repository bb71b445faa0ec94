//! Provider fixtures: load, change, sign again, send. Used by the command line, tests and embedders.
//!
//! A [`Fixture`] is one request as a provider would make it, without its signature. A [`Sender`]
//! gives it a fresh id, signs it with a source's own secret as the provider would, and sends it; a
//! [`SendPlan`] says how often, how fast and with which fault; a [`LoadPlan`] sends so many that the
//! receiver has work, and measures it.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::received::{Headers, Received};

pub mod change;
pub mod file;
pub mod forge;
mod id;
pub mod json;
pub mod load;
mod parts;
pub mod plan;
pub mod secrets;
pub mod sender;
pub mod shipped;

pub use change::Change;
pub use file::{LoadError, load};
pub use forge::Fault;
pub use load::{LoadPlan, LoadStop, LoadSummary};
pub use plan::{SendPlan, Summary, run};
pub use sender::{SendError, Sender, Sent};

/// One request as a provider would make it, not signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// The preset's slug; `None` in a user's own that doesn't say.
    pub provider: Option<String>,
    /// The event's type, as one asks for it; for people.
    pub kind: String,
    /// Upper case.
    pub method: String,
    /// What follows the `?` of the URL; empty when nothing does.
    pub query: String,
    /// In order, without a signature.
    pub headers: Headers,
    /// The exact bytes.
    pub body: Bytes,
}

impl Fixture {
    /// The request for a source that listens at `path`.
    #[must_use]
    pub fn request(&self, path: &str, now: DateTime<Utc>) -> Received {
        let target =
            if self.query.is_empty() { path.to_owned() } else { format!("{path}?{}", self.query) };
        Received {
            method: self.method.clone(),
            target,
            headers: self.headers.clone(),
            body: self.body.clone(),
            peer: None,
            arrived_at: now,
        }
    }
}
