//! What "authentic" means here: a [`Proof`] that bytes were accepted by a source's scheme.
//!
//! Only this room can mint a proof, so a [`Verified`] cannot be made without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use entity::Name;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::received::Received;

pub mod diagnose;
pub mod rejection;

pub(crate) mod field;
pub(crate) mod json;

pub(crate) mod digest;
pub(crate) mod encoding;
pub(crate) mod freshness;
pub mod host;
pub(crate) mod mac;
pub(crate) mod multipart;
pub(crate) mod precondition;
pub(crate) mod signature;
pub(crate) mod template;
pub(crate) mod url;

pub(crate) mod generate;
pub(crate) mod jwt;
pub(crate) mod key;
pub(crate) mod keyring;
pub(crate) mod public;

pub(crate) mod scheme;
pub(crate) mod signed;
pub(crate) mod token;

pub use diagnose::{Cause, Diagnosis, Effort, Step};
pub use jwt::{Bearer, BearerAlgorithm, BearerFault, BearerSettings, ClaimPlace, Principal};
pub use keyring::{KeyWanted, Roots};
pub use rejection::{Code, Rejection};
pub use scheme::Integrity;

/// Evidence that a request passed a source's scheme. Not constructible outside of this room.
#[derive(Debug)]
pub struct Proof {
    /// Which of the source's secrets matched, by position; `None` for a scheme without secrets.
    pub secret: Option<usize>,
    signed_id: Option<Vec<u8>>,
    claims: Option<Arc<Claims>>,
    // Boxed: few ask, and a proof is moved often.
    covered: Option<Box<[u8; 32]>>,
    _mint: (),
}

/// What a verified JSON Web Token claims, as texts: texts as they are, numbers as they are written.
pub(crate) type Claims = BTreeMap<String, String>;

impl Proof {
    /// The one mint.
    pub(in crate::verify) fn mint(secret: Option<usize>, signed_id: Option<Vec<u8>>) -> Self {
        Self { secret, signed_id, claims: None, covered: None, _mint: () }
    }

    /// The same evidence, with the SHA-256 of what the signature covers.
    pub(in crate::verify) fn covering(self, covered: Option<[u8; 32]>) -> Self {
        Self { covered: covered.map(Box::new), ..self }
    }

    /// The SHA-256 of what the signature covers; `None` when that is the body and nothing else, when
    /// nothing is covered, or when nobody asked.
    pub(crate) fn covered(&self) -> Option<[u8; 32]> {
        self.covered.as_deref().copied()
    }

    /// The same evidence, with what a verified token claims.
    pub(in crate::verify) fn claiming(self, claims: Option<Arc<Claims>>) -> Self {
        Self { claims, ..self }
    }

    /// The same evidence, for another event of the same request.
    pub(crate) fn of_same_request(&self) -> Self {
        let claims = self.claims.clone();
        let (signed_id, covered) = (self.signed_id.clone(), self.covered.clone());
        Self { secret: self.secret, signed_id, claims, covered, _mint: () }
    }

    /// The id that the accepting scheme signed, when it signs one. A scheme with several ways in
    /// gives the id of the way that was taken: an id from a way that was not taken isn't signed.
    #[must_use]
    pub fn signed_id(&self) -> Option<&[u8]> {
        self.signed_id.as_deref()
    }

    /// A claim of the JSON Web Token by which the request was accepted; `None` when there is no token,
    /// or the claim isn't there, or is neither text nor number.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.as_ref()?.get(name).map(String::as_str)
    }
}

/// A request that a source's scheme accepted, and what it says it is.
///
/// Its fields are private because they carry the guarantee; nobody downstream checks again.
#[derive(Debug)]
pub struct Verified {
    source: Name,
    identity: Identity,
    received: Received,
    proof: Proof,
}

/// Which event this is: read from the verified bytes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The provider's id, printable, at most 512 bytes.
    pub event_id: String,
    /// The provider's type; empty when it has none.
    pub kind: String,
    /// Sources with one group share ids.
    pub group: Arc<str>,
    /// [`dedupe_key`] of group and id.
    pub dedupe_key: Uuid,
    /// SHA-256 over the body without the fields of `conflict_ignore`.
    pub digest: [u8; 32],
    /// Why it must be stored but not dispatched, such as `duplicate_key` (a JSON key on the id's
    /// path stands twice, so that two parsers could read two ids).
    pub held: Option<&'static str>,
    /// How a replay under another id is seen; `None` where the id is signed.
    pub replay: Option<ReplayGuard>,
}

/// What shows that signed bytes came before, and what is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayGuard {
    /// SHA-256 over what is signed: the same signed bytes can come in several bodies.
    pub digest: [u8; 32],
    /// Whether the later one is refused and not recorded; else it is recorded and marked.
    pub reject: bool,
}

/// Under what an event is known once: the first 16 bytes of SHA-256 over the group, its length before
/// it, and the id.
#[must_use]
pub fn dedupe_key(group: &str, id: &str) -> Uuid {
    let mut hash = Sha256::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hash.update((group.len() as u64).to_be_bytes());
    hash.update(group.as_bytes());
    hash.update(id.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    Uuid::from_bytes(key)
}

impl Verified {
    /// Joins a proof with what was read from the proven bytes.
    #[must_use]
    pub fn new(proof: Proof, source: Name, identity: Identity, received: Received) -> Self {
        Self { source, identity, received, proof }
    }

    /// The source that accepted it.
    #[must_use]
    pub fn source(&self) -> &Name {
        &self.source
    }

    /// Which event it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The request as it came.
    #[must_use]
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// The exact body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.received.body
    }

    /// The evidence.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }
}
