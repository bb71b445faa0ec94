//! Provider fixtures: load, change, sign again, send. Used by the command line, tests and embedders.
//!
//! A [`Fixture`] is one request as a provider would make it, without its signature. A [`Sender`]
//! gives it a fresh id, signs it with a source's own secret as the provider would, and sends it; a
//! [`SendPlan`] says how often, how fast and with which fault; a [`LoadPlan`] sends so many that the
//! receiver has work, and measures it. [`record()`] makes a fixture of an event that came.
//!
//! A test of yours gives one to the `TestServer` of the room above all others, or to an HTTP stack of its own:
//!
//! ```no_run
//! # use hookonce::{fixture::Fixture, source::Source};
//! # fn test(source: &Source) -> Result<(), Box<dyn std::error::Error>> {
//! let paid = Fixture::load("tests/fixtures/invoice.paid.json")?;
//! let request = paid.with_id("evt_2").set("/data/object/amount_paid", "100")?.sign(source)?;
//! println!("{} {} {}", request.method, request.target, request.body.len());
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::received::{Headers, Received};
use crate::source::Source;

pub mod change;
pub mod file;
pub mod forge;
mod id;
pub mod json;
pub mod load;
mod parts;
pub mod plan;
mod prepare;
mod record;
pub mod redact;
pub mod secrets;
pub mod sender;
pub mod shipped;
mod write;

pub use change::Change;
pub use file::{LoadError, load};
pub use forge::Fault;
pub use load::{LoadPlan, LoadStop, LoadSummary};
pub use plan::{SendPlan, Summary, run};
pub use record::{Recorded, record};
pub use redact::Redaction;
pub use sender::{SendError, Sender, Sent};

/// One request as a provider would make it, not signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// The preset's slug; `None` in a user's own that doesn't say.
    pub provider: Option<String>,
    /// The source that it was recorded from; `None` when it wasn't recorded.
    pub source: Option<String>,
    /// The provider's id under which it is sent; `None` for a fresh one each time.
    pub id: Option<String>,
    /// The event's type, as one asks for it; for people.
    pub kind: String,
    /// Upper case.
    pub method: String,
    /// What follows the `?` of the URL; empty when nothing does.
    pub query: String,
    /// In order, without a signature.
    pub headers: Headers,
    /// Where its body holds stand-ins, as pointers with `*` for indexes; for people.
    pub redacted: Vec<String>,
    /// The exact bytes.
    pub body: Bytes,
}

/// Why a fixture can't be used: what, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl Fixture {
    /// Loads one from its file; [`load()`] loads a folder of them.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, LoadError> {
        file::load_file(file.as_ref())
    }

    /// A shipped one by its provider and type, such as `stripe` and `invoice.paid`.
    pub fn shipped(provider: &str, kind: &str) -> Result<Self, Unfit> {
        shipped::get(provider, Some(kind)).map_err(Unfit)
    }

    /// The same as the text of its file. Reading it gives exactly these bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        write::text(self)
    }

    /// The same under another id, which is written where the source looks for it.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The same under a fresh id each time it is sent.
    #[must_use]
    pub fn with_fresh_ids(mut self) -> Self {
        self.id = None;
        self
    }

    /// The same with another value at a JSON pointer, or in the form's field of that name. JSON when it
    /// is JSON, else a string; the rest of the body stays byte for byte.
    pub fn set(mut self, pointer: &str, value: &str) -> Result<Self, Unfit> {
        let change = Change::new(pointer, value).map_err(Unfit)?;
        let mut request = self.request("/", DateTime::default());
        change.apply(&mut request).map_err(|why| Unfit(format!("{}: {why}", self.kind)))?;
        self.body = request.body;
        Ok(self)
    }

    /// The request as the provider would make it now, signed with the source's first secret: method,
    /// path and query, headers, body. Fails when the source's scheme can't be signed here.
    pub fn sign(&self, source: &Source) -> Result<Received, Unfit> {
        let (now, facts) = (Utc::now(), source.facts());
        let prepared =
            prepare::prepare(self, &facts, source.path(), now, (&[], None), &mut rand::rng())
                .map_err(Unfit)?;
        forge::sign(source, prepared.request, now, &[])
            .map_err(|why| Unfit(format!("{}: {why}", self.kind)))
    }

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
