//! Compiles `jwt`.

use super::super::spec::{JwtAlg, JwtSpec, KeyDecode, KeySpec, SchemeSpec, Texts, TimeClaim};
use super::{Faults, Surroundings, fetched, key, scheme, signed};
use crate::secret::{Secret, SecretKind};
use crate::verify::digest::DigestPlace;
use crate::verify::field::Field;
use crate::verify::jwt::{Alg, Expected, JwtKey, JwtScheme, LEEWAY, UrlDigests, hmac_material};
use crate::verify::scheme::Scheme;
use crate::verify::template::params;

/// Compiles the scheme at `path`.
pub(super) fn compile(
    spec: &SchemeSpec,
    jwt: &JwtSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let own = format!("{path}.jwt");
    let algs = algs(jwt, &own, faults);
    let place = jwt.from.as_deref().unwrap_or("header:authorization");
    let from = faults.take(&format!("{own}.from"), Field::parse(place));
    let public: Vec<_> = algs.iter().filter_map(|alg| alg.public()).collect();
    let keys = keys(spec, &algs, path, surroundings, faults);
    let fetched = fetched::compile(spec, public, path, surroundings, faults);
    let by_id = by_id(spec, path, faults);
    let expected = expected(jwt, &own, surroundings, faults);
    let body_digest = signed::body_digest(spec.body_digest.as_ref(), None, path, faults);
    if body_digest.as_ref().is_some_and(|it| !matches!(it.from, DigestPlace::Claim(_))) {
        faults.push(&format!("{path}.body_digest.from"), "must be a claim: `claim:NAME`");
    }
    let preconditions = signed::preconditions(spec, path, surroundings, faults);
    let from = from?;
    if body_digest.is_some() && from.is_in_body() {
        faults.push(&format!("{own}.from"), "a token in the body can't hold the body's hash");
    }
    if algs.is_empty() {
        return None;
    }
    Some(Scheme::Jwt(Box::new(JwtScheme {
        algs,
        from,
        prefix: jwt.prefix.clone(),
        keys,
        fetched,
        by_id,
        expected,
        body_digest,
        preconditions,
    })))
}

fn algs(jwt: &JwtSpec, path: &str, faults: &mut Faults) -> Vec<Alg> {
    let path = format!("{path}.algs");
    let algs: Vec<Alg> = jwt
        .algs
        .iter()
        .map(|alg| match alg {
            JwtAlg::HS256 => Alg::Hs256,
            JwtAlg::HS384 => Alg::Hs384,
            JwtAlg::HS512 => Alg::Hs512,
            JwtAlg::RS256 => Alg::Rs256,
            JwtAlg::ES256 => Alg::Es256,
        })
        .collect();
    if algs.is_empty() {
        faults.push(&path, "is empty: name the algorithms that are accepted, such as [\"HS256\"]");
    }
    let secret = algs.iter().filter(|alg| alg.hmac().is_some()).count();
    if secret != 0 && secret != algs.len() {
        // The token chooses among them: with a public key as the secret anybody could sign.
        faults.push(&path, "shared secrets (HS…) and public keys (RS…, ES…) can't be mixed");
    }
    algs
}

/// A key of every secret that this scheme uses, for each algorithm that it can be one of.
fn keys(
    spec: &SchemeSpec,
    algs: &[Alg],
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Vec<JwtKey> {
    let default = KeySpec::default();
    let words = spec.key.as_ref().unwrap_or(&default);
    let decode = words.decode.as_ref().map_or(&[KeyDecode::Utf8][..], |decode| decode.as_slice());
    let public = algs.iter().any(|alg| alg.public().is_some());
    if !key::words_suit(public, decode, path, faults) {
        return Vec::new();
    }
    let kind = |secret: &Secret| match public {
        true => SecretKind::PublicKey,
        false => key::hmac_kind(secret, words, decode),
    };
    let mut keys = Vec::new();
    for (position, secret) in scheme::secrets(spec, path, surroundings, faults, kind) {
        let at = format!("secrets[{position}]");
        let Some((id, text)) = key::bare(&secret, words) else {
            faults.push(&at, "has no id: the token names its key, so write it as \"id:key\"");
            continue;
        };
        let mut why = String::new();
        let found = keys.len();
        for alg in algs {
            let materials = match alg.public() {
                Some(algorithm) => key::public(algorithm, &text, decode).map(|it| vec![it]),
                None => decode
                    .iter()
                    .filter_map(|word| key::decoded(&text, *word))
                    .map(|bytes| hmac_material(*alg, &secret, &bytes))
                    .collect(),
            };
            match materials {
                Ok(made) => keys.extend(made.into_iter().map(|material| JwtKey {
                    position,
                    id: id.clone(),
                    alg: *alg,
                    material,
                    secret: secret.clone(),
                })),
                Err(fault) => why = fault,
            }
        }
        if keys.len() == found {
            faults.push(&at, if why.is_empty() { key::unreadable(decode) } else { why });
        }
    }
    keys
}

fn by_id(spec: &SchemeSpec, path: &str, faults: &mut Faults) -> Option<String> {
    let text = spec.key.as_ref()?.by_id.as_deref()?;
    match text.strip_prefix("claim:") {
        Some(name) if !name.is_empty() => Some(name.to_owned()),
        _ => {
            faults.push(
                &format!("{path}.key.by_id"),
                "a token names its key by a claim: `claim:NAME`",
            );
            None
        }
    }
}

fn expected(
    jwt: &JwtSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Expected {
    let words = surroundings.words();
    let mut texts = |name: &str, texts: Option<&Texts>| -> Vec<String> {
        let Some(texts) = texts else { return Vec::new() };
        let path = format!("{path}.{name}");
        if texts.as_slice().is_empty() {
            faults.push(&path, "is empty: leave it out, or name what is accepted");
        }
        let filled = texts.as_slice().iter();
        filled.filter_map(|text| faults.take(&path, params(text, &words))).collect()
    };
    let iss = texts("iss", jwt.iss.as_ref());
    let aud = texts("aud", jwt.aud.as_ref());
    let claims = jwt
        .claims
        .iter()
        .filter_map(|(name, text)| {
            let path = format!("{path}.claims.{name}");
            if matches!(name.as_str(), "iss" | "aud" | "exp" | "nbf" | "iat") {
                faults.push(&path, "has a word of its own");
            }
            Some((name.clone(), faults.take(&path, params(text, &words))?))
        })
        .collect();
    let needs = |time: TimeClaim| jwt.require.contains(&time);
    let max_age = jwt.max_age.map(|age| age.0);
    let urls = UrlDigests {
        whole: jwt.url_digest.clone(),
        query: jwt.query_digest.clone(),
        registered: surroundings.url.map(str::to_owned),
    };
    if urls.whole.is_some() && urls.registered.is_none() {
        let fault = "needs `public_url` to be set: the URL that is registered with the provider, byte for byte";
        faults.push(&format!("{path}.url_digest"), fault);
    }
    Expected {
        iss,
        aud,
        claims,
        exp: needs(TimeClaim::Exp),
        nbf: needs(TimeClaim::Nbf),
        iat: needs(TimeClaim::Iat),
        // How old an event may be is for the operator to say, also where the preset says nothing.
        max_age: surroundings.tolerance.or(max_age),
        leeway: jwt.leeway.map_or(LEEWAY, |leeway| leeway.0),
        urls,
    }
}

#[cfg(test)]
mod tests;
