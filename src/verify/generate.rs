//! Makes private keys, for sources of tests whose provider's own key nobody has.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::public::PublicAlgorithm;

/// Characters of a line of PEM.
const LINE: usize = 64;

/// A fresh private key in PEM (PKCS #8), which as a source's secret both verifies and signs.
pub(crate) fn private_key(algorithm: PublicAlgorithm) -> Result<String, String> {
    let failed = |_| format!("no key could be made for {}", algorithm.name());
    let chance = SystemRandom::new();
    let der = match algorithm {
        PublicAlgorithm::Ed25519 => {
            Ed25519KeyPair::generate_pkcs8(&chance).map_err(failed)?.as_ref().to_vec()
        }
        PublicAlgorithm::EcdsaP256 | PublicAlgorithm::EcdsaP256Fixed => {
            let scheme = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
            EcdsaKeyPair::generate_pkcs8(scheme, &chance).map_err(failed)?.as_ref().to_vec()
        }
        PublicAlgorithm::RsaSha1 | PublicAlgorithm::RsaSha256 | PublicAlgorithm::RsaPssSha256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            der.as_ref().to_vec()
        }
    };
    Ok(pem("PRIVATE KEY", &der))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(LINE) {
        out.extend(line.iter().copied().map(char::from));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::public::PublicKey;

    #[test]
    fn a_key_that_was_made_signs_and_verifies() {
        for algorithm in [
            PublicAlgorithm::Ed25519,
            PublicAlgorithm::EcdsaP256,
            PublicAlgorithm::RsaSha256,
            PublicAlgorithm::RsaPssSha256,
        ] {
            let pem = private_key(algorithm).expect("a key");
            let key = PublicKey::from_pem(algorithm, &pem).expect("can be read");
            let signature = key.sign(b"content").expect("signed");
            assert!(key.verifies(b"content", &signature), "{algorithm:?}");
            assert!(!key.verifies(b"contenT", &signature), "{algorithm:?}");
            let other = private_key(algorithm).expect("a key");
            let other = PublicKey::from_pem(algorithm, &other).expect("can be read");
            assert!(!other.verifies(b"content", &signature), "{algorithm:?}");
        }
    }
}
