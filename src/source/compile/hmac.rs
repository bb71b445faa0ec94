//! Compiles an hmac scheme.

use std::time::Duration;

use super::super::spec::{
    Encoding as EncodingWord, GrammarSpec, Hash as HashWord, KeyDecode, KeySpec, Lines, SchemeSpec,
    SignatureSpec, TimestampSpec, Unit as UnitWord,
};
use super::scheme::secrets;
use super::{Faults, Surroundings};
use crate::secret::SecretKind;
use crate::verify::encoding::Encoding;
use crate::verify::field::Field;
use crate::verify::freshness::{Clock, Unit};
use crate::verify::hmac::HmacScheme;
use crate::verify::mac::{Hash, Mac};
use crate::verify::scheme::Scheme;
use crate::verify::signature::Grammar;
use crate::verify::template::Template;

/// How old a signed time may be, unless something else is written.
const TOLERANCE: Duration = Duration::from_secs(300);

/// How far ahead of our clock a signed time may be, unless something else is written.
const FUTURE: Duration = Duration::from_secs(60);

/// Compiles the hmac at `path`.
pub(super) fn compile(
    spec: &SchemeSpec,
    hash: HashWord,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let hash = match hash {
        HashWord::Sha1 => Hash::Sha1,
        HashWord::Sha256 => Hash::Sha256,
        HashWord::Sha384 => Hash::Sha384,
        HashWord::Sha512 => Hash::Sha512,
    };
    let keys = keys(spec, hash, path, surroundings, faults);
    let text = spec.content.as_deref().unwrap_or("{body}");
    let content = faults.take(&format!("{path}.content"), Template::parse(text, surroundings.url));
    let id = spec.id.as_deref().map(|text| faults.take(&format!("{path}.id"), Field::parse(text)));
    let id = match id {
        Some(None) => return None,
        Some(id) => id,
        None => None,
    };
    let Some(signature) = &spec.signature else {
        faults.push(&format!("{path}.signature"), "is missing: say where the signature stands");
        return None;
    };
    let signature_path = format!("{path}.signature");
    let from = signature_field(signature, &signature_path, faults);
    let grammar = grammar(signature.grammar.as_ref(), &signature_path, faults);
    let encoding = encoding(signature.encoding, &signature_path, faults);
    let (from, grammar, encoding, content) = (from?, grammar?, encoding?, content?);
    if from.is_in_body() && content.has_body() {
        faults.push(
            &format!("{signature_path}.from"),
            format!(
                "{from} lies in the body, which the content holds: a signature can't sign itself"
            ),
        );
    }
    check_id(id.as_ref(), &content, path, faults);
    let clock = clock(spec.timestamp.as_ref(), &grammar, &content, path, surroundings, faults)?;
    Some(Scheme::Hmac(Box::new(HmacScheme {
        hash,
        keys,
        from,
        all_lines: signature.lines == Some(Lines::All),
        encoding,
        grammar,
        content,
        id,
        clock,
    })))
}

fn keys(
    spec: &SchemeSpec,
    hash: Hash,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Vec<(usize, Mac)> {
    let default = KeySpec::default();
    let key = spec.key.as_ref().unwrap_or(&default);
    let decode = key.decode.unwrap_or(KeyDecode::Utf8);
    if matches!(
        decode,
        KeyDecode::Spki | KeyDecode::Pem | KeyDecode::Sha1Of | KeyDecode::HtmlUnescape
    ) {
        faults.push(&format!("{path}.key.decode"), "this word is not built yet");
        return Vec::new();
    }
    let kind = |secret: &crate::secret::Secret| SecretKind::HmacKey {
        // One that can't be decoded gets its own fault below.
        bytes: decoded(secret.expose(), key, decode).map_or(usize::MAX, |key| key.len()),
    };
    let mut keys = Vec::new();
    for (position, secret) in secrets(spec, path, surroundings, faults, kind) {
        match decoded(secret.expose(), key, decode).and_then(|key| Mac::new(hash, &key)) {
            Some(mac) => keys.push((position, mac)),
            None => {
                let wanted = match decode {
                    KeyDecode::Hex => "hex",
                    KeyDecode::Whsec => "base64 after `whsec_`",
                    KeyDecode::Base64url => "URL-safe base64",
                    _ => "base64",
                };
                faults.push(
                    &format!("secrets[{position}]"),
                    format!("is not {wanted}, as this scheme's keys are: copy it whole"),
                );
            }
        }
    }
    keys
}

fn decoded(text: &str, key: &KeySpec, decode: KeyDecode) -> Option<Vec<u8>> {
    let stripped = key.strip_prefix.iter().find_map(|prefix| text.strip_prefix(prefix.as_str()));
    let text = stripped.unwrap_or(text);
    match decode {
        KeyDecode::Utf8 => Some(text.as_bytes().to_vec()),
        KeyDecode::Hex => Encoding::Hex.decode_key(text),
        KeyDecode::Base64 => Encoding::Base64.decode_key(text),
        KeyDecode::Base64url => Encoding::Base64Url.decode_key(text),
        KeyDecode::Whsec => {
            Encoding::Base64.decode_key(text.strip_prefix("whsec_").unwrap_or(text))
        }
        KeyDecode::Spki | KeyDecode::Pem | KeyDecode::Sha1Of | KeyDecode::HtmlUnescape => None,
    }
}

fn signature_field(spec: &SignatureSpec, path: &str, faults: &mut Faults) -> Option<Field> {
    let from = faults.take(&format!("{path}.from"), Field::parse(&spec.from))?;
    if matches!(from, Field::Body(_) | Field::FormJson(..)) {
        faults.push(&format!("{path}.from"), format!("a signature in {from} is not built yet"));
        return None;
    }
    if spec.lines == Some(Lines::All) && !matches!(from, Field::Header(_)) {
        faults.push(&format!("{path}.lines"), "only a header can stand on several lines");
    }
    Some(from)
}

fn encoding(word: Option<EncodingWord>, path: &str, faults: &mut Faults) -> Option<Encoding> {
    match word {
        None | Some(EncodingWord::Hex) => Some(Encoding::Hex),
        Some(EncodingWord::Base64) => Some(Encoding::Base64),
        Some(EncodingWord::Base64url) => Some(Encoding::Base64Url),
        Some(EncodingWord::Der) => {
            faults.push(&format!("{path}.encoding"), "`der` is not built yet");
            None
        }
    }
}

fn grammar(spec: Option<&GrammarSpec>, path: &str, faults: &mut Faults) -> Option<Grammar> {
    match spec {
        None => Some(Grammar::Plain { prefix: String::new() }),
        Some(GrammarSpec::Plain(plain)) => Some(Grammar::Plain { prefix: plain.prefix.clone() }),
        Some(GrammarSpec::List(list)) if list.sep.is_empty() => {
            faults.push(&format!("{path}.grammar.list.sep"), "is empty");
            None
        }
        Some(GrammarSpec::List(list)) => {
            Some(Grammar::List { sep: list.sep.clone(), tag: list.tag.clone() })
        }
        Some(GrammarSpec::Kv(kv)) if kv.sep.is_empty() => {
            faults.push(&format!("{path}.grammar.kv.sep"), "is empty");
            None
        }
        Some(GrammarSpec::Kv(kv)) if kv.sig.is_empty() || kv.sig.iter().any(String::is_empty) => {
            faults.push(&format!("{path}.grammar.kv.sig"), "names no signature");
            None
        }
        Some(GrammarSpec::Kv(kv)) => {
            Some(Grammar::Kv { sep: kv.sep.clone(), sig: kv.sig.clone(), ts: kv.ts.clone() })
        }
        Some(GrammarSpec::Positional(_)) => {
            faults.push(&format!("{path}.grammar"), "`positional` is not built yet");
            None
        }
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

/// The scheme's clock; the outer `None` is a fault.
#[expect(clippy::option_option, reason = "no clock is an answer, and a fault is none")]
fn clock(
    spec: Option<&TimestampSpec>,
    grammar: &Grammar,
    content: &Template,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Option<Clock>> {
    let path = format!("{path}.timestamp");
    let beside = matches!(grammar, Grammar::Kv { ts: Some(_), .. });
    let Some(spec) = spec else {
        if content.names_timestamp() || beside {
            faults.push(&path, "is missing: the scheme has a time; say how it is written, such as timestamp = { unit = \"s\" }");
            return None;
        }
        return Some(None);
    };
    let from = match &spec.from {
        Some(text) => Some(faults.take(&format!("{path}.from"), Field::parse(text))?),
        None if beside => None,
        None => {
            faults.push(&format!("{path}.from"), "is missing: say where the timestamp stands");
            return None;
        }
    };
    let covered = content.names_timestamp() || from.as_ref().is_some_and(|f| content.has_field(f));
    if !covered && spec.signed == Some(true) {
        faults.push(&format!("{path}.signed"), "the content does not hold the timestamp");
    }
    if !covered && spec.signed.is_none() {
        faults.push(&path, "the content does not hold the timestamp, so checking it would prove nothing: put {ts} into `content`, or write signed = false");
    }
    let signed = covered && spec.signed != Some(false);
    if !signed && (spec.tolerance.is_some() || spec.future.is_some()) {
        faults.push(&path, "an unsigned timestamp is not judged: remove its tolerances");
    }
    let tolerance = surroundings.tolerance.or(spec.tolerance.map(|t| t.0)).unwrap_or(TOLERANCE);
    if tolerance.is_zero() {
        faults.push(&format!("{path}.tolerance"), "0 s would refuse everything");
    }
    let unit = match spec.unit {
        None | Some(UnitWord::S) => Unit::Seconds,
        Some(UnitWord::Ms) => Unit::Millis,
        Some(UnitWord::Rfc3339) => Unit::Rfc3339,
    };
    let future = spec.future.map_or(FUTURE, |future| future.0);
    Some(Some(Clock { from, unit, tolerance, future, signed }))
}
