//! Compiles a scheme that signs content.

use super::super::spec::{
    BodyDigestSpec, Curve, DigestHash, Encoding as EncodingWord, Hash as HashWord, RsaHash,
    SchemeSpec, Texts,
};
use super::{Faults, Surroundings, clock, fetched, key, signature};
use crate::verify::digest::{BodyDigest, DigestPlace};
use crate::verify::field::Field;
use crate::verify::json::select::Selector;
use crate::verify::key::Algorithm;
use crate::verify::mac::Hash;
use crate::verify::precondition::Precondition;
use crate::verify::public::PublicAlgorithm;
use crate::verify::scheme::Scheme;
use crate::verify::signature::Grammar;
use crate::verify::signed::{From, KeyId, SignedScheme};
use crate::verify::template::{Template, params};

/// How this scheme signs content, if it does.
pub(super) fn algorithm(spec: &SchemeSpec) -> Option<Algorithm> {
    let hmac = spec.hmac.map(|hash| {
        Algorithm::Hmac(match hash {
            HashWord::Sha1 => Hash::Sha1,
            HashWord::Sha256 => Hash::Sha256,
            HashWord::Sha384 => Hash::Sha384,
            HashWord::Sha512 => Hash::Sha512,
        })
    });
    let digest = spec.digest.map(|hash| Algorithm::Digest(digest_hash(hash)));
    let ed25519 = spec.ed25519.map(|_| Algorithm::Public(PublicAlgorithm::Ed25519));
    let ecdsa = spec.ecdsa.map(|Curve::P256| Algorithm::Public(PublicAlgorithm::EcdsaP256));
    let rsa = spec.rsa.map(|hash| {
        Algorithm::Public(match hash {
            RsaHash::Sha1 => PublicAlgorithm::RsaSha1,
            RsaHash::Sha256 => PublicAlgorithm::RsaSha256,
        })
    });
    hmac.or(digest).or(ed25519).or(ecdsa).or(rsa)
}

fn digest_hash(hash: DigestHash) -> Hash {
    match hash {
        DigestHash::Sha1 => Hash::Sha1,
        DigestHash::Sha256 => Hash::Sha256,
    }
}

/// Compiles the scheme at `path`.
pub(super) fn compile(
    spec: &SchemeSpec,
    algorithm: Algorithm,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let keys = key::keys(spec, algorithm, path, surroundings, faults);
    let public = match algorithm {
        Algorithm::Public(algorithm) => vec![algorithm],
        Algorithm::Hmac(_) | Algorithm::Digest(_) => Vec::new(),
    };
    let fetched = fetched::compile(spec, public, path, surroundings, faults);
    let words = surroundings.words();
    let text = spec.content.as_deref().unwrap_or("{body}");
    let content = faults.take(&format!("{path}.content"), Template::parse(text, &words));
    // A fault here must not hide those behind it.
    let id = spec.id.as_deref();
    let id = id.and_then(|text| faults.take(&format!("{path}.id"), Field::parse(text)));
    let each = spec.each.as_deref();
    let each = each.and_then(|text| faults.take(&format!("{path}.each"), Selector::parse(text)));
    let Some(signature) = &spec.signature else {
        faults.push(&format!("{path}.signature"), "is missing: say where the signature stands");
        return None;
    };
    let signature_path = format!("{path}.signature");
    let from = signature::place(signature, &signature_path, faults);
    let grammar = signature::grammar(signature.grammar.as_ref(), &signature_path, faults);
    let (from, grammar, content) = (from?, grammar?, content?);
    check_content(algorithm, &from, &content, path, faults);
    check_id(id.as_ref(), &content, path, faults);
    let by_id = by_id(spec, &grammar, path, faults);
    let body_digest = body_digest(spec.body_digest.as_ref(), Some(&content), path, faults);
    let preconditions = preconditions(spec, path, surroundings, faults);
    let clock =
        clock::clock(spec.timestamp.as_ref(), &grammar, &content, path, surroundings, faults)?;
    Some(Scheme::Signed(Box::new(SignedScheme {
        algorithm,
        keys,
        fetched,
        by_id,
        all_lines: signature.lines == Some(super::super::spec::Lines::All),
        from,
        encodings: signature::encodings(signature.encoding.as_ref()),
        grammar,
        content,
        id,
        clock,
        each,
        body_digest,
        preconditions,
    })))
}

fn check_content(
    algorithm: Algorithm,
    from: &From,
    content: &Template,
    path: &str,
    faults: &mut Faults,
) {
    if let From::Field(field) = from
        && field.is_in_body()
        && content.has_body()
    {
        faults.push(
            &format!("{path}.signature.from"),
            format!(
                "{field} lies in the body, which the content holds: a signature can't sign itself"
            ),
        );
    }
    if matches!(algorithm, Algorithm::Digest(_)) && !content.names_secret() {
        faults.push(
            &format!("{path}.content"),
            "a plain digest proves nothing without the secret: put {secret} into it",
        );
    }
    if !matches!(algorithm, Algorithm::Digest(_)) && content.names_secret() {
        faults.push(
            &format!("{path}.content"),
            "{secret} stands in the content of a plain digest only: a value that isn't secret is {param:NAME}",
        );
    }
}

fn check_id(id: Option<&Field>, content: &Template, path: &str, faults: &mut Faults) {
    match id {
        None if content.names_id() => {
            faults.push(&format!("{path}.content"), "{id} needs `id`: say where it stands");
        }
        Some(field) if !content.names_id() && !content.has_field(field) => {
            let fault = format!(
                "{field} is not in the signed content: put {{id}} into `content`, or use it in `event.id` only"
            );
            faults.push(&format!("{path}.id"), fault);
        }
        Some(_) | None => {}
    }
}

fn by_id(spec: &SchemeSpec, grammar: &Grammar, path: &str, faults: &mut Faults) -> Option<KeyId> {
    let text = spec.key.as_ref().and_then(|key| key.by_id.as_deref());
    let keyed = matches!(grammar, Grammar::Keyed { .. });
    let path = format!("{path}.key.by_id");
    match text {
        None if keyed => {
            faults.push(&path, "is missing: the id stands beside the signature, so write \"sig\"");
            None
        }
        None => None,
        Some("sig") if keyed => Some(KeyId::Beside),
        Some("sig") => {
            faults.push(&path, "`sig` needs the grammar `keyed`");
            None
        }
        Some(text) => faults.take(&path, Field::parse(text)).map(KeyId::Field),
    }
}

/// Compiles `body_digest`; `content` is what signs the place where it stands.
pub(super) fn body_digest(
    spec: Option<&BodyDigestSpec>,
    content: Option<&Template>,
    path: &str,
    faults: &mut Faults,
) -> Option<BodyDigest> {
    let spec = spec?;
    let path = format!("{path}.body_digest.from");
    let from = match (spec.from.strip_prefix("claim:"), content) {
        (Some(name), None) if !name.is_empty() => DigestPlace::Claim(name.to_owned()),
        (Some(_), _) => {
            faults.push(&path, "only a JSON Web Token has claims");
            return None;
        }
        (None, content) => {
            let field = faults.take(&path, Field::parse(&spec.from))?;
            if !content.is_some_and(|content| content.has_field(&field)) {
                faults.push(
                    &path,
                    format!("{field} is not in the signed content, so it proves nothing"),
                );
            }
            if field.is_in_body() {
                faults.push(&path, "a body can't hold its own hash");
            }
            DigestPlace::Field(field)
        }
    };
    let encoding = signature::encoding(spec.encoding.unwrap_or(EncodingWord::Hex));
    let hash = digest_hash(spec.hash.unwrap_or(DigestHash::Sha256));
    Some(BodyDigest { from, hash, encoding, absent_when_empty: spec.absent_when_empty })
}

/// Compiles `preconditions`.
pub(super) fn preconditions(
    spec: &SchemeSpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Vec<Precondition> {
    let mut compiled = Vec::new();
    for (place, values) in spec.preconditions.iter().flatten() {
        let path = format!("{path}.preconditions.{place}");
        let field = faults.take(&path, Field::parse(place));
        let words = surroundings.words();
        let values: Vec<_> = Texts::as_slice(values)
            .iter()
            .filter_map(|text| faults.take(&path, params(text, &words)))
            .collect();
        if values.is_empty() {
            faults.push(&path, "names no value");
        }
        compiled.extend(field.map(|field| Precondition { field, values }));
    }
    compiled
}
