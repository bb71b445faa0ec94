//! The keys of a scheme that signs content: secrets, or public keys.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::mac::{Hash, Mac};
use super::public::{PublicAlgorithm, PublicKey};
use super::template::Content;
use crate::secret::Secret;

/// How content is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// A MAC, keyed by a secret.
    Hmac(Hash),
    /// A plain hash of content in which the secret stands.
    Digest(Hash),
    /// A signature by a private key that only the provider has.
    Public(PublicAlgorithm),
}

/// A key of a source.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// The position of its secret among the source's.
    pub(crate) position: usize,
    /// Its id, where the request names its key.
    pub(crate) id: Option<String>,
    /// The secret's own text without its id, for content in which it stands.
    pub(crate) secret: Secret,
    /// What signs.
    pub(crate) material: Material,
}

/// What signs content, or checks who did.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all are MACs: a box would cost them more")]
pub(crate) enum Material {
    /// A keyed MAC.
    Mac(Mac),
    /// A hash that needs no key.
    Digest(Hash),
    /// A public key.
    Public(PublicKey),
}

impl Algorithm {
    /// Bytes of its signatures, when they all have as many.
    pub(crate) const fn length(self) -> Option<usize> {
        match self {
            Self::Hmac(hash) | Self::Digest(hash) => Some(hash.length()),
            Self::Public(algorithm) => algorithm.length(),
        }
    }

    /// Such as `HMAC-SHA256`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hmac(hash) => hash.hmac_name(),
            Self::Digest(Hash::Sha1) => "SHA1 digest",
            Self::Digest(_) => "SHA256 digest",
            Self::Public(algorithm) => algorithm.name(),
        }
    }
}

impl Material {
    /// Whether one of `candidates` is its signature over `content`. Secrets are compared in constant
    /// time; how many comparisons there are depends only on how many candidates there are.
    pub(crate) fn accepts(&self, content: &Content<'_>, candidates: &[&[u8]]) -> bool {
        match self {
            Self::Mac(key) => {
                let mac = updated(key, content);
                candidates.iter().any(|candidate| mac.clone().verifies(candidate))
            }
            Self::Digest(hash) => {
                let digest = digest(*hash, content);
                candidates.iter().any(|candidate| digest.ct_eq(candidate).into())
            }
            Self::Public(key) => {
                let content = content.concat();
                candidates.iter().any(|candidate| key.verifies(&content, candidate))
            }
        }
    }

    /// Its signature over `content`.
    pub(crate) fn sign(&self, content: &Content<'_>) -> Result<Vec<u8>, String> {
        match self {
            Self::Mac(key) => Ok(updated(key, content).finish()),
            Self::Digest(hash) => Ok(digest(*hash, content)),
            Self::Public(key) => key.sign(&content.concat()),
        }
    }
}

fn updated(key: &Mac, content: &Content<'_>) -> Mac {
    let mut mac = key.clone();
    for part in content {
        mac.update(part);
    }
    mac
}

fn digest(hash: Hash, content: &Content<'_>) -> Vec<u8> {
    fn of<D: Digest>(content: &Content<'_>) -> Vec<u8> {
        let mut digest = D::new();
        for part in content {
            digest.update(part);
        }
        digest.finalize().to_vec()
    }
    match hash {
        Hash::Sha1 => of::<Sha1>(content),
        _ => of::<Sha256>(content),
    }
}

/// Why nothing can be signed by the secret at this position.
pub(crate) fn no_key_to_sign(fetched: bool, position: usize) -> String {
    if fetched {
        return "this source fetches the provider's own key: to sign, give it a private key in PEM as its secret".to_owned();
    }
    format!("this source has no secret number {position} to sign with")
}
