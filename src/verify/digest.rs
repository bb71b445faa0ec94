//! A hash of the body that stands elsewhere in the request, in what is signed.

use std::borrow::Cow;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::encoding::Encoding;
use super::field::Field;
use super::mac::Hash;
use super::rejection::{Code, Rejection};
use crate::received::Received;

/// A hash of the body that stands in what is signed.
#[derive(Debug, Clone)]
pub(crate) struct BodyDigest {
    /// Where it stands.
    pub(crate) from: DigestPlace,
    /// SHA-1 or SHA-256.
    pub(crate) hash: Hash,
    /// How it is written.
    pub(crate) encoding: Encoding,
    /// Whether it may be missing with an empty body, and only then.
    pub(crate) absent_when_empty: bool,
}

/// Where the hash of a body stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DigestPlace {
    /// In the request.
    Field(Field),
    /// In a claim of the JSON Web Token that was verified.
    Claim(String),
}

impl std::fmt::Display for DigestPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(field) => write!(f, "{field}"),
            Self::Claim(name) => write!(f, "claim:{name}"),
        }
    }
}

impl BodyDigest {
    /// Compares what `read` finds in a place of the request with the body's own hash.
    pub(crate) fn check<'a>(
        &self,
        received: &Received,
        read: impl FnOnce(&Field) -> Option<Cow<'a, [u8]>>,
    ) -> Result<(), Rejection> {
        let shown = match &self.from {
            DigestPlace::Field(field) => read(field),
            DigestPlace::Claim(_) => None,
        };
        self.compare(received, shown.as_deref())
    }

    /// Compares what is shown with the body's own hash.
    pub(crate) fn compare(
        &self,
        received: &Received,
        shown: Option<&[u8]>,
    ) -> Result<(), Rejection> {
        let shown = match shown.filter(|shown| !shown.is_empty()) {
            Some(shown) => shown,
            None if self.absent_when_empty && received.body.is_empty() => return Ok(()),
            None => {
                let detail = format!("the body's hash in {} is missing", self.from);
                return Err(Rejection::new(Code::SignatureMismatch, detail));
            }
        };
        let same = self
            .encoding
            .decode(shown)
            .is_some_and(|shown| digest(self.hash, &received.body).ct_eq(&shown).into());
        if same {
            return Ok(());
        }
        let detail =
            format!("the body is not the one whose hash stands in {}: it was changed", self.from);
        Err(Rejection::new(Code::SignatureMismatch, detail))
    }

    /// The hash of a body, as it is written.
    pub(crate) fn of(&self, body: &[u8]) -> String {
        self.encoding.encode(&digest(self.hash, body))
    }

    /// Its place, when that is not in a token.
    pub(crate) fn field(&self) -> Option<&Field> {
        match &self.from {
            DigestPlace::Field(field) => Some(field),
            DigestPlace::Claim(_) => None,
        }
    }
}

fn digest(hash: Hash, body: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha1 => Sha1::digest(body).to_vec(),
        _ => Sha256::digest(body).to_vec(),
    }
}
