//! Public keys, and signatures by them: Ed25519, ECDSA and RSA, by AWS-LC.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaEncoding, RsaKeyPair,
    VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use webpki::EndEntityCert;

use super::encoding::Encoding;

mod jwk;

/// How a public key verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PublicAlgorithm {
    /// 64 bytes over the content itself.
    Ed25519,
    /// ASN.1, over SHA-256, on P-256.
    EcdsaP256,
    /// Both numbers of 32 bytes, over SHA-256, on P-256: as JSON Web Tokens have it.
    EcdsaP256Fixed,
    /// PKCS #1 v1.5 over SHA-1. Only where a provider has nothing better.
    RsaSha1,
    /// PKCS #1 v1.5 over SHA-256.
    RsaSha256,
    /// PSS over SHA-256.
    RsaPssSha256,
}

/// A public key, and its private one where the operator gave that: a source of tests, for which
/// requests can then be signed.
#[derive(Clone)]
pub(crate) struct PublicKey {
    algorithm: PublicAlgorithm,
    key: Arc<ParsedPublicKey>,
    pair: Option<Arc<Pair>>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?})", self.algorithm)
    }
}

impl PublicAlgorithm {
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &signature::ED25519,
            Self::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP256Fixed => &signature::ECDSA_P256_SHA256_FIXED,
            Self::RsaSha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::RsaSha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        }
    }

    /// Such as `RSA-SHA256`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 | Self::EcdsaP256Fixed => "ECDSA-P256-SHA256",
            Self::RsaSha1 => "RSA-SHA1",
            Self::RsaSha256 => "RSA-SHA256",
            Self::RsaPssSha256 => "RSA-PSS-SHA256",
        }
    }

    /// Bytes of its signatures, when they all have as many.
    pub(crate) const fn length(self) -> Option<usize> {
        match self {
            Self::Ed25519 | Self::EcdsaP256Fixed => Some(64),
            Self::EcdsaP256 | Self::RsaSha1 | Self::RsaSha256 | Self::RsaPssSha256 => None,
        }
    }
}

impl PublicKey {
    /// Reads a key in PEM: a `PUBLIC KEY`, that of a `CERTIFICATE` (which is pinned by it: nothing else
    /// of the certificate is judged), and of a `PRIVATE KEY` (PKCS #8) the public half.
    pub(crate) fn from_pem(algorithm: PublicAlgorithm, pem: &str) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY-----") {
            let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
                .map_err(|_| "is a private key, but none in PKCS #8 PEM".to_owned())?;
            return Self::from_pkcs8(algorithm, der.secret_pkcs8_der());
        }
        if pem.contains("BEGIN CERTIFICATE-----") {
            let unreadable = "is not a certificate in PEM that can be read";
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unreadable)?;
            let certificate = EndEntityCert::try_from(&der).map_err(|_| unreadable)?;
            return Self::from_der(algorithm, certificate.subject_public_key_info().as_ref());
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "is not a public key in PEM (BEGIN PUBLIC KEY)".to_owned())?;
        Self::from_der(algorithm, der.as_ref())
    }

    /// Reads a `SubjectPublicKeyInfo`, or the 32 bytes of an Ed25519 key.
    pub(crate) fn from_der(algorithm: PublicAlgorithm, der: &[u8]) -> Result<Self, String> {
        let key = ParsedPublicKey::new(algorithm.verification(), der)
            .map_err(|why| format!("is not a public key for {}: {why}", algorithm.name()))?;
        Ok(Self { algorithm, key: Arc::new(key), pair: None })
    }

    /// Reads a key that is written in this encoding, without armour. Lines may be broken anywhere.
    pub(crate) fn from_text(
        algorithm: PublicAlgorithm,
        encoding: Encoding,
        text: &str,
    ) -> Result<Self, String> {
        let text: String = text.split_ascii_whitespace().collect();
        let der = encoding
            .decode_key(&text)
            .ok_or_else(|| format!("is not a public key in {encoding:?}, nor in PEM"))?;
        Self::from_der(algorithm, &der)
    }

    fn from_pkcs8(algorithm: PublicAlgorithm, der: &[u8]) -> Result<Self, String> {
        let unfit = |why| format!("is not a private key for {}: {why}", algorithm.name());
        let pair = match algorithm {
            PublicAlgorithm::Ed25519 => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(unfit)?)
            }
            PublicAlgorithm::EcdsaP256 => {
                let scheme = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(scheme, der).map_err(unfit)?)
            }
            PublicAlgorithm::EcdsaP256Fixed => {
                let scheme = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(scheme, der).map_err(unfit)?)
            }
            PublicAlgorithm::RsaSha1
            | PublicAlgorithm::RsaSha256
            | PublicAlgorithm::RsaPssSha256 => {
                Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(unfit)?)
            }
        };
        let public = match &pair {
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        };
        let mut key = Self::from_der(algorithm, public)?;
        key.pair = Some(Arc::new(pair));
        Ok(key)
    }

    /// The public half as the algorithm writes it.
    #[cfg(test)]
    pub(crate) fn raw(&self) -> Vec<u8> {
        match self.pair.as_deref() {
            Some(Pair::Ed25519(pair)) => pair.public_key().as_ref().to_vec(),
            Some(Pair::Ecdsa(pair)) => pair.public_key().as_ref().to_vec(),
            Some(Pair::Rsa(pair)) => pair.public_key().as_ref().to_vec(),
            None => Vec::new(),
        }
    }

    /// Whether `signature` is one of this key over `content`.
    pub(crate) fn verifies(&self, content: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(content, signature).is_ok()
    }

    /// A signature over `content`; fails when only the public half is known.
    pub(crate) fn sign(&self, content: &[u8]) -> Result<Vec<u8>, String> {
        let Some(pair) = &self.pair else {
            return Err("only the public key is known: to sign, the source's secret must be the private key in PEM (PKCS #8)".to_owned());
        };
        let failed = |_| "the private key can't sign".to_owned();
        match (&**pair, self.algorithm) {
            (Pair::Ed25519(pair), _) => Ok(pair.sign(content).as_ref().to_vec()),
            (Pair::Ecdsa(pair), _) => {
                let signature = pair.sign(&SystemRandom::new(), content).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            (Pair::Rsa(_), PublicAlgorithm::RsaSha1) => Err(NOT_SIGNED.to_owned()),
            (Pair::Rsa(pair), algorithm) => {
                let padding: &dyn RsaEncoding = match algorithm {
                    PublicAlgorithm::RsaPssSha256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), content, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

/// Whether this is how public keys are written: nobody's shared secret looks so, and everybody may know
/// what does.
pub(crate) fn is_written_as_published(text: &str) -> bool {
    text.contains("-----BEGIN") || (text.trim_start().starts_with('{') && text.contains("\"kty\""))
}

/// AWS-LC verifies RSA with SHA-1 for the sake of old signers, and signs no more with it.
pub(crate) const NOT_SIGNED: &str =
    "RSA with SHA-1 is only verified: nothing new is signed with it";

#[cfg(test)]
mod tests;
