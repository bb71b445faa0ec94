//! Public keys that come from the provider while we run: asked for by a request, kept, and read here.

use chrono::{DateTime, Utc};

use super::public::PublicKey;
use super::rejection::{Code, Rejection};
use crate::received::Received;

/// Where a scheme's key comes from when the source has no secrets.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {}

impl Fetched {
    /// The key by which a request is judged.
    pub(crate) fn key(&self, _: &Received, _: DateTime<Utc>) -> Result<PublicKey, Rejection> {
        Err(Rejection::new(Code::KeyUnavailable, "the provider's key is not here"))
    }
}
