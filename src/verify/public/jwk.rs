//! Public keys as JSON Web Keys (RFC 7517), as providers publish them and as operators paste them.

use serde_json::Value;

use super::{PublicAlgorithm, PublicKey};
use crate::verify::encoding::Encoding;

impl PublicKey {
    /// The key that a JSON Web Key is; `None` when it is one of another kind or for another use.
    pub(crate) fn from_jwk(algorithm: PublicAlgorithm, jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let (kty, crv, alg) = words(algorithm);
        let fits = text("kty") == Some(kty)
            && crv.is_none_or(|crv| text("crv") == Some(crv))
            && text("alg").is_none_or(|word| word == alg)
            && text("use").is_none_or(|word| word == "sig");
        let number = |name: &str| Encoding::Base64Url.decode(text(name)?.as_bytes());
        let der = || match kty {
            "EC" => point(&number("x")?, &number("y")?),
            "OKP" => number("x"),
            _ => Some(rsa(&number("n")?, &number("e")?)),
        };
        let der = fits.then(der)??;
        Self::from_der(algorithm, &der).ok()
    }

    /// Reads what an operator has in JSON: a JSON Web Key, or a provider's whole answer with one in it
    /// (`{"key": …}`, `{"keys": [ … ]}`).
    pub(crate) fn from_json(algorithm: PublicAlgorithm, text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text)
            .map_err(|why| format!("begins like a JSON Web Key, and is no JSON: {why}"))?;
        let inside = json.get("key").filter(|key| key.is_object()).unwrap_or(&json);
        let keys = match inside.get("keys").and_then(Value::as_array) {
            Some(keys) => keys.iter().collect(),
            None => vec![inside],
        };
        if keys.iter().any(|jwk| jwk.get("d").is_some() || jwk.get("k").is_some()) {
            return Err("is a private key, which only the provider should have: give the public one; a key of tests is written in PEM (PKCS #8)".to_owned());
        }
        let mut fitting = keys.into_iter().filter_map(|jwk| Self::from_jwk(algorithm, jwk));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => {
                Err("holds several keys: give each of them as a secret of its own".to_owned())
            }
            (None, _) => {
                let (kty, crv, _) = words(algorithm);
                let kind = crv.map_or_else(|| kty.to_owned(), |crv| format!("{kty} on {crv}"));
                Err(format!(
                    "holds no JSON Web Key for {}: its `kty` must be {kind}, its `alg` and `use`, where they are written, for that",
                    algorithm.name()
                ))
            }
        }
    }
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
