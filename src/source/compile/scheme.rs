//! Compiles `verify`, member by member.

use super::super::spec::{SchemeSpec, TokenSpec};
use super::{Faults, Surroundings, fetched, jwt, signed};
use crate::secret::{Secret, SecretKind};
use crate::verify::field::Field;
use crate::verify::json::select::Selector;
use crate::verify::scheme::Scheme;
use crate::verify::token::{BasicScheme, TokenScheme};

/// Compiles the scheme at `path`.
pub(super) fn compile(
    spec: &SchemeSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let kinds = kinds(spec);
    let written: Vec<&str> = kinds.iter().filter(|(_, is)| *is).map(|(kind, _)| *kind).collect();
    match written.as_slice() {
        [] => {
            let fault = "names no scheme: write one of hmac, digest, ed25519, ecdsa, rsa, jwt, token, basic, any, all, or \"none\"";
            faults.push(path, fault);
            return None;
        }
        [_] => {}
        several => {
            let both = several.join("` and `");
            let fault = format!("`{both}` are different schemes: keep one, or use any or all");
            faults.push(path, fault);
            return None;
        }
    }
    for (word, value) in [("basic", spec.basic), ("none", spec.none), ("ed25519", spec.ed25519)] {
        if value == Some(false) {
            faults.push(&format!("{path}.{word}"), "is either true or left out");
        }
    }
    needless(spec, path, faults);
    if let Some(algorithm) = signed::algorithm(spec) {
        return signed::compile(spec, algorithm, path, surroundings, faults);
    }
    if let Some(token) = &spec.jwt {
        return jwt::compile(spec, token, path, surroundings, faults);
    }
    if let Some(token) = &spec.token {
        return compile_token(spec, token, path, surroundings, faults);
    }
    if spec.basic.is_some() {
        let secrets = secrets(spec, path, surroundings, faults, |_| SecretKind::Basic);
        return Some(Scheme::Basic(BasicScheme { secrets }));
    }
    if spec.none.is_some() {
        if path != "verify" {
            faults.push(path, "`none` beside other schemes would accept everything");
        }
        return Some(Scheme::Unsigned);
    }
    if let Some(members) = &spec.any {
        return several(members, &format!("{path}.any"), surroundings, faults).map(Scheme::Any);
    }
    let members = spec.all.as_deref().unwrap_or_default();
    several(members, &format!("{path}.all"), surroundings, faults).map(Scheme::All)
}

fn kinds(spec: &SchemeSpec) -> [(&'static str, bool); 11] {
    [
        ("hmac", spec.hmac.is_some()),
        ("digest", spec.digest.is_some()),
        ("ed25519", spec.ed25519.is_some()),
        ("ecdsa", spec.ecdsa.is_some()),
        ("rsa", spec.rsa.is_some()),
        ("jwt", spec.jwt.is_some()),
        ("token", spec.token.is_some()),
        ("basic", spec.basic.is_some()),
        ("none", spec.none.is_some()),
        ("any", spec.any.is_some()),
        ("all", spec.all.is_some()),
    ]
}

fn several(
    members: &[SchemeSpec],
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Vec<Scheme>> {
    if members.len() < 2 {
        faults.push(path, "needs at least two schemes: write a single one by itself");
        return None;
    }
    // All of them are compiled, so that all faults are told.
    let compiled: Vec<Option<Scheme>> = members
        .iter()
        .enumerate()
        .map(|(i, member)| compile(member, &format!("{path}[{i}]"), surroundings, faults))
        .collect();
    compiled.into_iter().collect()
}

fn compile_token(
    spec: &SchemeSpec,
    token: &TokenSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let secrets = secrets(spec, path, surroundings, faults, |_| SecretKind::Token);
    let from = faults.take(&format!("{path}.token.from"), Field::parse(&token.from))?;
    let each = match &spec.each {
        Some(text) => Some(faults.take(&format!("{path}.each"), Selector::parse(text))?),
        None => None,
    };
    Some(Scheme::Token(TokenScheme { secrets, from, prefix: token.prefix.clone(), each }))
}

/// The secrets that this member uses, by position, each checked for its use.
pub(super) fn secrets(
    spec: &SchemeSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
    kind: impl Fn(&Secret) -> SecretKind,
) -> Vec<(usize, Secret)> {
    let Some(secrets) = surroundings.secrets else { return Vec::new() };
    if fetched::is_fetched(spec, surroundings) {
        return Vec::new();
    }
    if secrets.is_empty() {
        let fault = "secrets: at least one is needed: secrets = [{ env = \"NAME\" }]".to_owned();
        if !faults.0.contains(&fault) {
            faults.0.push(fault);
        }
        return Vec::new();
    }
    let all: Vec<usize> = (0..secrets.len()).collect();
    let positions = spec.key.as_ref().and_then(|key| key.secrets.clone()).unwrap_or(all);
    let mut used = Vec::new();
    for position in positions {
        let Some(secret) = secrets.get(position) else {
            let fault = format!("there is no secret number {position}; the first is number 0");
            faults.push(&format!("{path}.key.secrets"), fault);
            continue;
        };
        let checked = if surroundings.strict { secret.check(kind(secret)) } else { Ok(()) };
        match checked {
            Ok(()) => used.push((position, secret.clone())),
            Err(why) => {
                let fault = format!("secrets[{position}]: {why}");
                // Members of one scheme may find the same fault.
                if !faults.0.contains(&fault) {
                    faults.0.push(fault);
                }
            }
        }
    }
    used
}

/// A fault for each key that this kind of scheme doesn't have.
fn needless(spec: &SchemeSpec, path: &str, faults: &mut Faults) {
    let signs = signed::algorithm(spec).is_some();
    let jwt = spec.jwt.is_some();
    let makes_keys = |key: &super::super::spec::KeySpec| {
        key.decode.is_some()
            || !key.strip_prefix.is_empty()
            || key.by_id.is_some()
            || key.jwks.is_some()
            || key.x509.is_some()
            || key.pem_url.is_some()
    };
    for (word, is, fits) in [
        ("key", spec.key.as_ref().is_some_and(makes_keys), signs || jwt),
        ("signature", spec.signature.is_some(), signs),
        ("content", spec.content.is_some(), signs),
        ("id", spec.id.is_some(), signs),
        ("timestamp", spec.timestamp.is_some(), signs),
        ("each", spec.each.is_some(), signs || spec.token.is_some()),
        ("body_digest", spec.body_digest.is_some(), signs || jwt),
        ("preconditions", spec.preconditions.is_some(), signs || jwt),
    ] {
        if is && !fits {
            faults.push(&format!("{path}.{word}"), "has no meaning for this scheme");
        }
    }
}
