//! Tokens (JWT) that are refused: which part of one doesn't fit, and the usual reason.

use chrono::{DateTime, Utc};

use super::{Cause, Diagnosis, address, keys, plain};
use crate::received::Received;
use crate::verify::field::Field;
use crate::verify::jwt::{Expected, JwtScheme};
use crate::verify::key::Material;
use crate::verify::rejection::{Code, Rejection};

/// Headers of a request that are looked at.
const HEADERS_MAX: usize = 64;

fn found(cause: Cause, sentence: String) -> Diagnosis {
    Diagnosis { proven: true, ..Diagnosis::new(cause, sentence) }
}

/// Why a token is refused.
pub(super) fn jwt(
    scheme: &JwtScheme,
    received: &Received,
    rejection: &Rejection,
    now: DateTime<Utc>,
) -> Diagnosis {
    let fits = |scheme: &JwtScheme, received: &Received| match scheme.verify(received, now) {
        Ok(_) => true,
        Err(rejection) => rejection.code.is_of_time(),
    };
    let diagnosis = match rejection.code {
        Code::SignatureMissing | Code::SignatureMalformed => elsewhere(scheme, received, &fits),
        Code::SignatureMismatch => {
            claim(scheme, received, rejection, &fits).or_else(|| key(scheme, received, &fits))
        }
        _ => None,
    };
    diagnosis.unwrap_or_else(|| {
        if rejection.code != Code::SignatureMismatch {
            return plain(rejection);
        }
        let whose = match scheme.fetched {
            Some(_) => "the provider's key: was the token changed on its way, or is it another environment's?",
            None => "a secret of this source, nor by one of them in another form: copy it anew, and see that it is the one of this webhook",
        };
        let sentence = format!("the token in {} is not signed by {whose}", scheme.from);
        Diagnosis::new(Cause::SecretWrong, sentence)
    })
}

type Fits<'a> = &'a dyn Fn(&JwtScheme, &Received) -> bool;

/// A token that stands in another header, or there in another way.
fn elsewhere(scheme: &JwtScheme, received: &Received, fits: Fits<'_>) -> Option<Diagnosis> {
    let wanted = &scheme.from;
    for (name, value) in received.headers.iter().take(HEADERS_MAX) {
        let Ok(text) = std::str::from_utf8(value) else { continue };
        let own = *wanted == Field::Header(name.to_owned());
        let bare = text.trim().trim_matches(['"', '\'']);
        let bare = bare.rsplit([' ', '=']).next().unwrap_or(bare);
        // What can't be a token isn't tried.
        if bare.split('.').count() != 3 || (own && scheme.prefix.is_empty() && bare == text) {
            continue;
        }
        let mut changed = scheme.clone();
        changed.from = Field::Header(name.to_owned());
        changed.prefix = String::new();
        let mut shown = received.clone();
        shown.headers.replace(name, bare);
        if !fits(&changed, &shown) {
            continue;
        }
        return Some(if own {
            let sentence = format!(
                "{wanted} holds the right token, but not as `{}TOKEN`: see `jwt.prefix`, and ask who writes it anew",
                scheme.prefix
            );
            found(Cause::SignaturePrefix, sentence)
        } else {
            let sentence = format!(
                "the right token stands in header:{name}, and this source looks in {wanted}: set `jwt.from`, and ask who renames it"
            );
            found(Cause::SignatureHeader, sentence)
        });
    }
    None
}

/// A token that is well signed and claims something else.
fn claim(
    scheme: &JwtScheme,
    received: &Received,
    rejection: &Rejection,
    fits: Fits<'_>,
) -> Option<Diagnosis> {
    let bare = JwtScheme { expected: Expected::default(), body_digest: None, ..scheme.clone() };
    if !fits(&bare, received) {
        return None;
    }
    let without_body = JwtScheme { body_digest: None, ..scheme.clone() };
    if scheme.body_digest.is_some() && fits(&without_body, received) {
        let sentence = "the token is authentic and its hash is of another body: the body was changed on its way, or it is another request's token";
        return Some(found(Cause::BodyChanged, sentence.to_owned()));
    }
    let mut without_url = scheme.clone();
    without_url.expected.urls = Default::default();
    if scheme.expected.urls.is_any() && fits(&without_url, received) {
        return Some(url(scheme, received, fits));
    }
    Some(found(Cause::ClaimRefused, format!("the token is authentic, but {}", rejection.detail)))
}

/// A token for another URL.
fn url(scheme: &JwtScheme, received: &Received, fits: Fits<'_>) -> Diagnosis {
    let registered = scheme.expected.urls.registered.as_deref();
    for (cause, url, said) in address::others(received, registered) {
        let mut changed = scheme.clone();
        changed.expected.urls.registered = Some(url);
        if fits(&changed, received) {
            let sentence = format!(
                "the token fits when the provider calls {said}: write `public_url` exactly as it is registered with the provider"
            );
            return found(cause, sentence);
        }
    }
    for (cause, target, said) in address::targets(received) {
        let mut changed = received.clone();
        changed.target = target;
        if fits(scheme, &changed) {
            let sentence = format!("the token fits {said}: have it passed on as it was sent");
            return found(cause, sentence);
        }
    }
    let sentence = "the token is authentic, and for another URL than this one: is `public_url` what is registered with the provider?";
    Diagnosis::new(Cause::UrlPath, sentence)
}

/// A token that is signed in another way, or by another key.
fn key(scheme: &JwtScheme, received: &Received, fits: Fits<'_>) -> Option<Diagnosis> {
    let (alg, kid) = scheme.named(received)?;
    let pinned: Vec<&str> = scheme.algs.iter().map(|alg| alg.name()).collect();
    if !alg.as_deref().is_some_and(|alg| pinned.contains(&alg)) {
        let named = match alg.as_deref() {
            Some("none") => {
                "the token names the algorithm `none`, which is no signature".to_owned()
            }
            Some(_) => "the token names another algorithm".to_owned(),
            None => "the token names no algorithm".to_owned(),
        };
        let sentence = format!("{named}; this source takes {} only", pinned.join(" or "));
        return Some(found(Cause::TokenAlgorithm, sentence));
    }
    if scheme.by_id.is_some() && !scheme.keys.iter().any(|key| key.id == kid) {
        let sentence = "the token names a key that this source doesn't have: write the secret as \"id:key\" with the provider's id";
        return Some(found(Cause::KeyId, sentence.to_owned()));
    }
    // Whatever it claims: the key is what is looked for.
    let bare = JwtScheme { expected: Expected::default(), body_digest: None, ..scheme.clone() };
    for own in &scheme.keys {
        let (Some(hash), Material::Mac(mac)) = (own.alg.hmac(), &own.material) else { continue };
        for (mac, change) in keys::others(&own.secret, mac, hash) {
            let mut changed = bare.clone();
            let mut key = own.clone();
            key.material = Material::Mac(mac);
            changed.keys = vec![key];
            if fits(&changed, received) {
                return Some(found(change.cause, change.sentence));
            }
        }
    }
    None
}
