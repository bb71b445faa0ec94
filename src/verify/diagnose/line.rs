//! The signature as it is written.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use super::Cause;
use super::search::{Case, Change, Flow, Search, Visit};
use crate::verify::encoding::Encoding;
use crate::verify::field::Field;
use crate::verify::key::Algorithm;
use crate::verify::public::PublicAlgorithm;
use crate::verify::signature::Grammar;
use crate::verify::signed::From;

/// Lines or parts of one that are looked at.
const PARTS_MAX: usize = 8;

/// A shorter beginning could be there by chance.
const CUT_MIN: usize = 8;

/// What stands where the signature is due, the lines of a header one by one.
pub(super) fn texts(case: &Case) -> Vec<String> {
    let received = &case.received;
    let From::Field(field) = &case.scheme.from else { return Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match field {
        Field::Header(name) => received.headers.all(name).take(PARTS_MAX).map(text).collect(),
        field => field.read(received).ok().flatten().iter().map(|value| text(value)).collect(),
    }
}

/// The case with this text where the signature is due.
pub(super) fn with(case: &Case, text: &str) -> Option<Case> {
    let From::Field(field) = &case.scheme.from else { return None };
    let mut changed = case.clone();
    field.put(&mut changed.received, text).ok()?;
    Some(changed)
}

/// The same signature in other spellings: repeated, joined, quoted, escaped, with another prefix.
pub(super) fn spelling(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let lines = texts(case);
    let from = &case.scheme.from;
    let mut give =
        |search: &mut Search<'_>, text: &str, cause: Cause, said: String| match with(case, text) {
            Some(changed) => visit(search, changed, Change::new(cause, said)),
            None => Flow::Continue(()),
        };
    if lines.len() > 1 {
        for line in &lines {
            let said = format!(
                "{from} stands {} times, and one of them fits: the sender or a proxy repeats it; lines = \"all\" takes each",
                lines.len()
            );
            give(search, line, Cause::SignatureRepeated, said)?;
        }
        return Flow::Continue(());
    }
    let Some(line) = lines.first() else { return Flow::Continue(()) };
    for sep in [", ", ","] {
        for part in line.split(sep).take(PARTS_MAX).filter(|part| *part != line) {
            let said = format!(
                "{from} holds several lines that a proxy joined by a comma, and one of them fits: keep them apart, or set lines = \"all\" and a grammar of a list"
            );
            give(search, part.trim(), Cause::SignatureJoined, said)?;
        }
    }
    let unquoted = line.trim().replace(['"', '\''], "");
    for (text, cause, what) in [
        (
            line.split_whitespace().collect::<String>(),
            Cause::SignatureWhiteSpace,
            "white space in it",
        ),
        (unquoted, Cause::SignatureQuoted, "quotes around it"),
        (
            line.replace(' ', "+"),
            Cause::SignatureEscaped,
            "its `+` turned to blanks, as a form is decoded",
        ),
        (unescaped(line), Cause::SignatureEscaped, "percent escapes in it"),
    ] {
        if text != *line {
            let said = format!(
                "the signature in {from} fits, but it has {what}: have it sent as it was made"
            );
            give(search, &text, cause, said)?;
        }
    }
    if let Grammar::Plain { prefix } = &case.scheme.grammar {
        for text in other_prefixes(line, prefix) {
            let said = if prefix.is_empty() {
                format!(
                    "the signature in {from} fits, but something stands before it that this source doesn't expect: set grammar = {{ plain = {{ prefix = … }} }}"
                )
            } else {
                format!("the signature in {from} fits, but `{prefix}` doesn't stand before it")
            };
            give(search, &text, Cause::SignaturePrefix, said)?;
        }
    }
    Flow::Continue(())
}

fn unescaped(text: &str) -> String {
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode_str(text).into();
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The line with the wanted prefix in place of none or of another one.
fn other_prefixes(line: &str, prefix: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if !line.starts_with(prefix) {
        texts.push(format!("{prefix}{line}"));
    }
    for sep in ['=', ' ', ':', ','] {
        if let Some((_, rest)) = line.split_once(sep).filter(|(before, _)| before.len() <= 16) {
            texts.push(format!("{prefix}{}", rest.trim_start()));
        }
    }
    texts.retain(|text| text != line);
    texts
}

/// The signature's bytes written in the encoding that is wanted.
pub(super) fn encoding(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let Some(wanted) = case.scheme.encodings.first() else { return Flow::Continue(()) };
    let line = texts(case).into_iter().next().unwrap_or_default();
    for shown in case.scheme.shown(&case.received) {
        let read = readings(&shown);
        let raw = read.iter().filter_map(|(_, bytes)| Some((SIDE_BY_SIDE, der(case, bytes)?)));
        for (is, bytes) in read.iter().cloned().chain(raw) {
            let text = wanted.encode(&bytes);
            if text == shown {
                continue;
            }
            let Some(changed) = with(case, &line.replace(&shown, &text)) else { continue };
            let said = format!(
                "the signature in {} fits, but it is written in {is}, and this source reads {}: set `encoding`",
                case.scheme.from,
                name(*wanted)
            );
            visit(search, changed, Change::new(Cause::SignatureEncoding, said))?;
        }
    }
    Flow::Continue(())
}

/// How WebCrypto, JWTs and Java's P1363 write a signature by ECDSA.
const SIDE_BY_SIDE: &str = "its two numbers side by side, where DER is wanted";

/// A signature by ECDSA of two numbers side by side, in DER.
fn der(case: &Case, bytes: &[u8]) -> Option<Vec<u8>> {
    if case.scheme.algorithm != Algorithm::Public(PublicAlgorithm::EcdsaP256) || bytes.len() != 64 {
        return None;
    }
    let integer = |number: &[u8]| {
        let from = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
        let mut digits = number[from..].to_vec();
        // A first bit would be a sign.
        if digits.first().is_some_and(|first| *first >= 0x80) {
            digits.insert(0, 0);
        }
        [vec![0x02, u8::try_from(digits.len()).unwrap_or_default()], digits].concat()
    };
    let both = [integer(&bytes[..32]), integer(&bytes[32..])].concat();
    Some([vec![0x30, u8::try_from(both.len()).ok()?], both].concat())
}

fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Hex => "hex",
        Encoding::Base64 => "base64",
        Encoding::Base64Url => "URL-safe base64 without padding",
    }
}

/// Whether so many bytes can be a signature.
fn is_length(bytes: &[u8]) -> bool {
    matches!(bytes.len(), 20 | 32 | 48 | 64 | 70..=72 | 128 | 256 | 384 | 512)
}

/// The bytes that a text may spell, padded or not.
pub(super) fn readings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    let plain = [
        ("hex", Encoding::Hex),
        ("base64", Encoding::Base64),
        ("URL-safe base64", Encoding::Base64Url),
    ];
    for (name, encoding) in plain {
        if let Some(bytes) = encoding.decode_key(text) {
            if let Some(inner) = std::str::from_utf8(&bytes).ok().and_then(|t| hex::decode(t).ok())
                && is_length(&inner)
            {
                found.push(("base64 of its hex digits", inner));
            }
            if is_length(&bytes) {
                found.push((name, bytes));
            }
        }
    }
    found
}

/// A signature that begins rightly and ends too early, or goes on behind its end.
pub(super) fn cut(case: &Case) -> Option<Change> {
    let scheme = &case.scheme;
    let shown = scheme.shown(&case.received);
    for key in &scheme.keys {
        let Some(expected) = scheme.expected(&case.received, key) else { continue };
        for shown in &shown {
            let both = shown.len().min(expected.len());
            // Without its padding it isn't cut: it is written in another way.
            let padded = shown.len() == expected.trim_end_matches('=').len();
            if both < CUT_MIN || padded || shown.len() == expected.len() {
                continue;
            }
            let same = shown.as_bytes()[..both].ct_eq(&expected.as_bytes()[..both]);
            if !bool::from(same) {
                continue;
            }
            let (from, number) = (&scheme.from, key.position + 1);
            let (is, wanted) = (shown.len(), expected.len());
            return Some(if is < wanted {
                Change::new(
                    Cause::SignatureCut,
                    format!(
                        "secret number {number} is the right one, but the signature in {from} is cut: {is} of its {wanted} characters came"
                    ),
                )
            } else {
                Change::new(
                    Cause::SignatureLonger,
                    format!(
                        "secret number {number} is the right one, but more than the signature stands in {from}: {is} characters, of which it has {wanted}"
                    ),
                )
            });
        }
    }
    None
}
