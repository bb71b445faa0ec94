//! The four HMACs behind one face.

use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    /// 20 bytes. Only where a provider has nothing better.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    /// Bytes of its MAC.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Such as `HMAC-SHA256`.
    pub(crate) const fn hmac_name(self) -> &'static str {
        match self {
            Self::Sha1 => "HMAC-SHA1",
            Self::Sha256 => "HMAC-SHA256",
            Self::Sha384 => "HMAC-SHA384",
            Self::Sha512 => "HMAC-SHA512",
        }
    }
}

/// A keyed HMAC. Cloning one saves hashing the key again, which is half the work for a small body.
#[derive(Clone)]
pub(crate) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Mac {
    /// Keys it. `None` for a key that the algorithm doesn't take, which HMAC has none of.
    pub(crate) fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            Hash::Sha384 => Self::Sha384(Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(Hmac::new_from_slice(key).ok()?),
        })
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha384(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    /// Whether `signature` is the whole MAC, in constant time. A prefix of it is not.
    pub(crate) fn verifies(self, signature: &[u8]) -> bool {
        #[cfg(test)]
        count::one();
        match self {
            Self::Sha1(mac) => mac.verify_slice(signature).is_ok(),
            Self::Sha256(mac) => mac.verify_slice(signature).is_ok(),
            Self::Sha384(mac) => mac.verify_slice(signature).is_ok(),
            Self::Sha512(mac) => mac.verify_slice(signature).is_ok(),
        }
    }

    /// The MAC.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mac(…)")
    }
}

/// How many MACs this thread compared with a signature, for tests of how often a request is verified.
#[cfg(test)]
pub(crate) mod count {
    use std::cell::Cell;

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn one() {
        COMPARED.set(COMPARED.get() + 1);
    }

    /// Since the thread began.
    pub(crate) fn compared() -> u64 {
        COMPARED.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 and RFC 4231, test case 2: key `Jefe`, text `what do ya want for nothing?`.
    #[test]
    fn the_macs_are_those_of_the_rfcs() {
        for (hash, wanted) in [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Hash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let mut mac = Mac::new(hash, b"Jefe").expect("a key");
            mac.update(b"what do ya want ");
            mac.update(b"for nothing?");
            assert_eq!(hex::encode(mac.clone().finish()), wanted);
            let wanted = hex::decode(wanted).expect("hex");
            assert_eq!(wanted.len(), hash.length());
            assert!(mac.clone().verifies(&wanted));
            for end in 0..wanted.len() {
                assert!(!mac.clone().verifies(&wanted[..end]), "a prefix of {end} bytes");
            }
            assert!(!mac.clone().verifies(&[wanted, vec![0]].concat()));
        }
    }
}
