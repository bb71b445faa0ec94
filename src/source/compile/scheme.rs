//! Compiles `verify`, member by member.

use super::super::spec::{SchemeSpec, TokenSpec};
use super::{Faults, Surroundings, hmac};
use crate::secret::{Secret, SecretKind};
use crate::verify::field::Field;
use crate::verify::scheme::Scheme;
use crate::verify::token::{BasicScheme, TokenScheme};

/// Compiles the scheme at `path`.
pub(super) fn compile(
    spec: &SchemeSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let before = faults.0.len();
    unbuilt(spec, path, faults);
    let kinds = [
        ("hmac", spec.hmac.is_some()),
        ("token", spec.token.is_some()),
        ("basic", spec.basic.is_some()),
        ("none", spec.none.is_some()),
        ("any", spec.any.is_some()),
        ("all", spec.all.is_some()),
    ];
    let written: Vec<&str> = kinds.iter().filter(|(_, is)| *is).map(|(kind, _)| *kind).collect();
    if written.len() > 1 {
        let both = written.join("` and `");
        faults.push(path, format!("`{both}` are different schemes: keep one, or use any or all"));
        return None;
    }
    for (word, value) in [("basic", spec.basic), ("none", spec.none)] {
        if value == Some(false) {
            faults.push(&format!("{path}.{word}"), "is either true or left out");
        }
    }
    if spec.hmac.is_none() {
        needless(spec, path, faults);
    }
    if let Some(hash) = spec.hmac {
        return hmac::compile(spec, hash, path, surroundings, faults);
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
    if let Some(members) = &spec.all {
        return several(members, &format!("{path}.all"), surroundings, faults).map(Scheme::All);
    }
    // A word that isn't built yet has said so already.
    if faults.0.len() == before {
        faults
            .push(path, "names no scheme: write one of hmac, token, basic, any, all, or \"none\"");
    }
    None
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
    Some(Scheme::Token(TokenScheme { secrets, from, prefix: token.prefix.clone() }))
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
        match secret.check(kind(secret)) {
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

/// A fault for each key that only an hmac has.
fn needless(spec: &SchemeSpec, path: &str, faults: &mut Faults) {
    let decodes =
        |key: &super::super::spec::KeySpec| key.decode.is_some() || !key.strip_prefix.is_empty();
    for (word, is) in [
        ("key", spec.key.as_ref().is_some_and(decodes)),
        ("signature", spec.signature.is_some()),
        ("content", spec.content.is_some()),
        ("id", spec.id.is_some()),
        ("timestamp", spec.timestamp.is_some()),
    ] {
        if is
            && [
                &spec.token.is_some(),
                &spec.basic.is_some(),
                &spec.none.is_some(),
                &spec.any.is_some(),
                &spec.all.is_some(),
            ]
            .contains(&&true)
        {
            faults.push(&format!("{path}.{word}"), "has no meaning here: only an hmac has it");
        }
    }
}

fn unbuilt(spec: &SchemeSpec, path: &str, faults: &mut Faults) {
    faults.unbuilt(
        path,
        &[
            ("digest", &spec.digest),
            ("ed25519", &spec.ed25519),
            ("ecdsa", &spec.ecdsa),
            ("rsa", &spec.rsa),
            ("jwt", &spec.jwt),
            ("canonical", &spec.canonical),
            ("each", &spec.each),
            ("body_digest", &spec.body_digest),
            ("preconditions", &spec.preconditions),
        ],
    );
    if let Some(key) = &spec.key {
        faults.unbuilt(
            &format!("{path}.key"),
            &[
                ("candidates", &key.candidates),
                ("by_id", &key.by_id),
                ("jwks", &key.jwks),
                ("x509", &key.x509),
                ("pem_url", &key.pem_url),
            ],
        );
    }
}
