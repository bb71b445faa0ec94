//! An issuer of tokens: keys of its own, and a server that publishes them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::endpoint::{Answer, Endpoint};

/// Its server, which publishes nothing before [`Issuer::publish`].
#[derive(Debug)]
pub struct Issuer {
    pub server: Endpoint,
}

impl Issuer {
    pub async fn start() -> Self {
        let server = Endpoint::start().await;
        server.answer_otherwise(Answer::status(503));
        Self { server }
    }

    /// Where the keys are.
    pub fn jwks(&self) -> String {
        self.server.url("/.well-known/jwks.json")
    }

    /// From now on these are its keys.
    pub fn publish(&self, keys: &[&IssuerKey]) {
        let set = json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() });
        let answer = Answer::ok().header("content-type", "application/json");
        self.server.answer_otherwise(answer.body(&set.to_string()));
    }
}

/// One of its keys.
#[derive(Debug)]
pub struct IssuerKey {
    kid: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl IssuerKey {
    /// For ES256.
    pub fn ecdsa(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Ecdsa(pair) }
    }

    /// For RS256.
    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Rsa(pair) }
    }

    /// As it is published.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let point = pair.public_key().as_ref();
                json!({
                    "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
                    "x": base64url(&point[1..33]), "y": base64url(&point[33..]),
                })
            }
            Pair::Rsa(pair) => {
                // SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }
                let der = pair.public_key().as_ref();
                json!({
                    "kty": "RSA", "use": "sig", "kid": self.kid,
                    "n": base64url(&der[9..265]), "e": base64url(&der[267..]),
                })
            }
        }
    }

    /// A token of these claims, as the value of an Authorization header.
    pub fn token(&self, claims: &Value) -> String {
        let alg = if matches!(self.pair, Pair::Ecdsa(_)) { "ES256" } else { "RS256" };
        let header = json!({ "alg": alg, "kid": self.kid, "typ": "at+jwt" });
        bearer(&header, claims, |signed| self.sign(signed))
    }

    /// A signature by it.
    pub fn sign(&self, content: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, content).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, content, &mut out).unwrap();
                out
            }
        }
    }
}

/// A token with whatever header and signature.
pub fn bearer(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |json: &Value| base64url(json.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    format!("Bearer {signed}.{}", base64url(&sign(signed.as_bytes())))
}

/// Seconds since 1970, so many from now.
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
