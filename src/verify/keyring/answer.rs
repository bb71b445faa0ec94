//! Reads keys from what a provider publishes: JSON Web Keys (RFC 7517), or PEM.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ring::Stored;
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
    // Plaid's word for when a key is no longer used.
    let until = jwk.get("expired_at").and_then(Value::as_i64);
    let until = until.and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    let of = |algorithm: &PublicAlgorithm| {
        let key = PublicKey::from_jwk(*algorithm, jwk)?;
        let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
        Some(Stored { kid, algorithm: *algorithm, key, from: None, until })
    };
    algorithms.iter().filter_map(of).collect()
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
