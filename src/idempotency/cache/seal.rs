//! Entries that only who reads the database can make or read.
//!
//! AES-256-GCM under a key of its own for each generation, scope and key, so an entry that is moved to another
//! place doesn't open there. The name in Redis is a MAC over the same: it tells nothing of who asked for what.
//! One such key seals a handful of entries, so chance is enough for the nonces.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::CACHED_MAX;
use crate::received::Headers;
use crate::store::idempotency::{KeyAnswer, KeyCacheView, KeyId};

/// What the bytes are; changed with their form.
const FORM: &[u8] = b"hookonce-answer-1";
const NONCE: usize = 12;
const TAG: usize = 16;
/// Hash, end, status and the headers' length.
const HEAD: usize = 32 + 8 + 2 + 4;

/// The largest entry that is ever made, in bytes.
pub(super) const SEALED_MAX: usize = NONCE + HEAD + CACHED_MAX + TAG;

/// What is kept of a completed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) request_hash: [u8; 32],
    /// Milliseconds since 1970, by the database's clock.
    pub(super) expires_at: i64,
    pub(super) answer: KeyAnswer,
}

/// Where a key's answer lies, and what opens it.
pub(super) struct Place {
    name: String,
    key: [u8; 32],
}

impl Place {
    pub(super) fn of(view: &KeyCacheView, id: &KeyId) -> Self {
        let derive = |purpose: &[u8]| -> [u8; 32] {
            // An HMAC takes a key of any length; the branch is only the type's.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&view.secret) else {
                return [0; 32];
            };
            for part in [FORM, purpose, &view.generation.to_be_bytes(), id.scope.as_bytes()] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part);
            }
            mac.update(id.key.as_bytes());
            mac.finalize().into_bytes().into()
        };
        Self { name: format!("hookonce:{}", hex::encode(derive(b"name"))), key: derive(b"seal") }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Nonce, ciphertext, tag. `None` when the answer's body isn't there, or no entry can be made.
    pub(super) fn seal(&self, entry: &Entry) -> Option<Vec<u8>> {
        let KeyAnswer { status, headers, body, .. } = &entry.answer;
        let (headers, body) = (headers.as_bytes(), body.as_ref()?);
        let mut text = Vec::with_capacity(HEAD + headers.len() + body.len() + TAG);
        text.extend_from_slice(&entry.request_hash);
        text.extend_from_slice(&entry.expires_at.to_be_bytes());
        text.extend_from_slice(&status.to_be_bytes());
        text.extend_from_slice(&u32::try_from(headers.len()).ok()?.to_be_bytes());
        text.extend_from_slice(headers);
        text.extend_from_slice(body);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key).ok()?;
        let nonce = key.seal_in_place_append_tag(Aad::from(FORM), &mut text).ok()?;
        Some([&nonce.as_ref()[..], &text].concat())
    }

    /// The entry, when it was sealed for this place. Reads hostile bytes.
    pub(super) fn open(&self, mut bytes: Vec<u8>) -> Option<Entry> {
        if bytes.len() > SEALED_MAX {
            return None;
        }
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key).ok()?;
        let text = key.open_in_place(nonce, Aad::from(FORM), sealed).ok()?;
        let (request_hash, rest) = text.split_first_chunk::<32>()?;
        let (expires_at, rest) = rest.split_first_chunk::<8>()?;
        let (status, rest) = rest.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (headers, body) = rest.split_at_checked(length)?;
        let answer = KeyAnswer {
            status: u16::from_be_bytes(*status),
            headers: Headers::from_bytes(headers),
            body: Some(Bytes::copy_from_slice(body)),
            note: None,
        };
        let expires_at = i64::from_be_bytes(*expires_at);
        Some(Entry { request_hash: *request_hash, expires_at, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(secret: u8, generation: i64) -> KeyCacheView {
        KeyCacheView { secret: [secret; 32], generation, now: 0 }
    }

    fn id(scope: &str, key: &str) -> KeyId {
        KeyId { scope: scope.to_owned(), key: key.to_owned() }
    }

    fn entry() -> Entry {
        let mut headers = Headers::new();
        headers.push("content-type", "application/json");
        headers.push("x-bytes", [0xff, 0xfe]);
        let body = Some(Bytes::from_static(b"{\"paid\":1}\0\r\n"));
        let answer = KeyAnswer { status: 201, headers, body, note: None };
        Entry { request_hash: [7; 32], expires_at: 1_800_000_000_000, answer }
    }

    #[test]
    fn what_was_sealed_opens_byte_for_byte_and_nothing_else_does() {
        let place = Place::of(&view(1, 1), &id("pay:a", "k"));
        let sealed = place.seal(&entry()).unwrap();
        assert_eq!(place.open(sealed.clone()), Some(entry()));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(place.open(flipped), None, "byte {at}");
            assert_eq!(place.open(sealed[..at].to_vec()), None, "cut at {at}");
        }
        assert_ne!(place.seal(&entry()).unwrap(), sealed, "each has a nonce of its own");
    }

    #[test]
    fn an_entry_opens_in_its_own_place_only() {
        let place = Place::of(&view(1, 1), &id("pay:a", "k"));
        let sealed = place.seal(&entry()).unwrap();
        for (view, id) in [
            (view(2, 1), id("pay:a", "k")),
            (view(1, 2), id("pay:a", "k")),
            (view(1, 1), id("pay:b", "k")),
            (view(1, 1), id("pay:a", "k2")),
            (view(1, 1), id("pay:", "ak")),
        ] {
            let other = Place::of(&view, &id);
            assert_ne!(other.name(), place.name());
            assert_eq!(other.open(sealed.clone()), None);
        }
    }

    #[test]
    fn the_largest_answer_fits() {
        let mut large = entry();
        let room = CACHED_MAX - large.answer.headers.as_bytes().len();
        large.answer.body = Some(Bytes::from(vec![b'x'; room]));
        let place = Place::of(&view(1, 1), &id("pay:a", "k"));
        let sealed = place.seal(&large).unwrap();
        assert_eq!(sealed.len(), SEALED_MAX);
        assert_eq!(place.open(sealed), Some(large));
    }
}
