//! Reads keys from what a provider publishes: JSON Web Keys (RFC 7517), or PEM.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ring::Stored;
use crate::verify::encoding::Encoding;
use crate::verify::public::{PublicAlgorithm, PublicKey};

/// How many keys of a set are read.
pub(super) const KEYS_MAX: usize = 32;

/// The keys of a set, or one key, at `pointer`. Keys for other uses are passed over. With `kid`, the
/// answer is to one key's id, and a key that says another one is not it.
pub(super) fn set(
    answer: &[u8],
    pointer: &str,
    kid: Option<&str>,
    algorithms: &[PublicAlgorithm],
) -> Result<Vec<Stored>, String> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| "the answer is not JSON")?;
    let found = answer.pointer(pointer).ok_or("there is no key at `pointer` in the answer")?;
    let keys = match found.get("keys").and_then(Value::as_array) {
        Some(keys) => keys.iter().take(KEYS_MAX).collect(),
        None => vec![found],
    };
    let mine = |stored: &Stored| match (kid, &stored.kid) {
        (Some(wanted), Some(has)) => wanted == has,
        _ => true,
    };
    let stored: Vec<Stored> =
        keys.into_iter().flat_map(|jwk| read(jwk, algorithms)).filter(mine).collect();
    if stored.is_empty() {
        return Err("the answer holds no key of the kind that is needed".to_owned());
    }
    Ok(stored)
}

/// A key, once for each algorithm that it may be used with: one that names none may fit several.
fn read(jwk: &Value, algorithms: &[PublicAlgorithm]) -> Vec<Stored> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|word| word != "sig") {
        return Vec::new();
    }
    // Plaid's word for when a key is no longer used.
    let until = jwk.get("expired_at").and_then(Value::as_i64);
    let until = until.and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    let of = |algorithm: &PublicAlgorithm| {
        let (kty, crv, alg) = words(*algorithm);
        let fits = text("kty") == Some(kty)
            && crv.is_none_or(|crv| text("crv") == Some(crv))
            && text("alg").is_none_or(|word| word == alg);
        let number = |name: &str| Encoding::Base64Url.decode(text(name)?.as_bytes());
        let der = || match kty {
            "EC" => point(&number("x")?, &number("y")?),
            "OKP" => number("x"),
            _ => Some(rsa(&number("n")?, &number("e")?)),
        };
        let der = fits.then(der)??;
        let key = PublicKey::from_der(*algorithm, &der).ok()?;
        let kid = text("kid").map(str::to_owned);
        Some(Stored { kid, algorithm: *algorithm, key, from: None, until })
    };
    algorithms.iter().filter_map(of).collect()
}

/// How a key for an algorithm names its type, its curve, and the algorithm.
fn words(algorithm: PublicAlgorithm) -> (&'static str, Option<&'static str>, &'static str) {
    match algorithm {
        PublicAlgorithm::Ed25519 => ("OKP", Some("Ed25519"), "EdDSA"),
        PublicAlgorithm::EcdsaP256 | PublicAlgorithm::EcdsaP256Fixed => {
            ("EC", Some("P-256"), "ES256")
        }
        PublicAlgorithm::RsaSha1 => ("RSA", None, "RS1"),
        PublicAlgorithm::RsaSha256 => ("RSA", None, "RS256"),
        PublicAlgorithm::RsaPssSha256 => ("RSA", None, "PS256"),
    }
}

/// An uncompressed point of P-256.
fn point(x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    (x.len() == 32 && y.len() == 32).then(|| [&[4], x, y].concat())
}

/// An `RSAPublicKey` (RFC 8017) in DER.
fn rsa(n: &[u8], e: &[u8]) -> Vec<u8> {
    element(0x30, &[integer(n), integer(e)].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    let from = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let bare = &number[from..];
    let sign: &[u8] = if bare.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    element(2, &[sign, bare].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let from = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let bare = &length[from..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(bare.len()).unwrap_or_default());
    }
    out.extend_from_slice(bare);
    out.extend_from_slice(content);
    out
}

/// A key in PEM, at `pointer` of a JSON answer or the whole answer.
pub(super) fn pem(
    answer: &[u8],
    pointer: Option<&str>,
    algorithms: &[PublicAlgorithm],
) -> Result<Vec<Stored>, String> {
    let text = match pointer {
        None => std::str::from_utf8(answer).map_err(|_| "the answer is not PEM")?.to_owned(),
        Some(pointer) => {
            let answer: Value =
                serde_json::from_slice(answer).map_err(|_| "the answer is not JSON")?;
            let found = answer.pointer(pointer).and_then(Value::as_str);
            found.ok_or("there is no text at `pointer` in the answer")?.to_owned()
        }
    };
    if text.contains("PRIVATE KEY-----") {
        return Err("the answer holds a private key".to_owned());
    }
    let mut why = String::new();
    let mut stored = Vec::new();
    for algorithm in algorithms {
        match PublicKey::from_pem(*algorithm, &text) {
            Ok(key) => stored.push(Stored {
                kid: None,
                algorithm: *algorithm,
                key,
                from: None,
                until: None,
            }),
            Err(fault) => why = format!("the answer {fault}"),
        }
    }
    if stored.is_empty() { Err(why) } else { Ok(stored) }
}
