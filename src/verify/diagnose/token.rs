//! Tokens and passwords that don't fit.

use std::fmt::Display;

use super::{Cause, Diagnosis};
use crate::received::Received;
use crate::secret::Secret;
use crate::verify::encoding::Encoding;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::token::{AUTHORIZATION, BasicScheme, TokenScheme, same};

fn found(cause: Cause, sentence: String) -> Diagnosis {
    Diagnosis { proven: true, ..Diagnosis::new(cause, sentence) }
}

/// Why a token is refused.
pub(super) fn token(scheme: &TokenScheme, received: &Received, rejection: &Rejection) -> Diagnosis {
    let from = &scheme.from;
    let shown = from.read(received).ok().flatten().filter(|shown| !shown.is_empty());
    let Some(shown) = shown else { return elsewhere(scheme, received, rejection) };
    let fits = |text: &[u8]| scheme.secrets.iter().any(|(_, secret)| same(text, secret));
    let prefix = scheme.prefix.as_bytes();
    let bare = shown.strip_prefix(prefix).unwrap_or(&shown);
    for (text, cause, what) in [
        (bare.to_vec(), Cause::TokenPrefix, "it stands there without its prefix"),
        (
            after_blank(bare),
            Cause::TokenPrefix,
            "another word stands before it: see `token.prefix`",
        ),
        (bare.trim_ascii().to_vec(), Cause::SecretWhiteSpace, "white space stands around it"),
        (unquoted(bare), Cause::SecretQuoted, "quotes stand around it"),
        (
            percent_encoding::percent_decode(bare).collect(),
            Cause::TokenEncoding,
            "it is percent-encoded",
        ),
        (decoded(bare), Cause::TokenEncoding, "it is encoded in base64"),
        (
            [prefix, bare].concat(),
            Cause::TokenPrefix,
            "the secret here begins with the prefix, which doesn't belong to it",
        ),
        (
            [b"Bearer ", bare].concat(),
            Cause::TokenPrefix,
            "the secret here begins with `Bearer `, which doesn't belong to it",
        ),
    ] {
        if fits(&text) {
            return found(cause, format!("{from} shows the right token, but {what}"));
        }
    }
    for (_, secret) in &scheme.secrets {
        if let Some(diagnosis) = other_form(secret, bare, from) {
            return diagnosis;
        }
    }
    if rejection.code == Code::SignatureMalformed {
        return Diagnosis::new(Cause::SignatureMalformed, rejection.detail.clone());
    }
    let sentence = format!(
        "what {from} shows is none of this source's secrets, nor one of them in another form: copy it anew on both sides"
    );
    Diagnosis::new(Cause::TokenWrong, sentence)
}

/// The secret as it is here in another form than the sender's.
fn other_form(secret: &Secret, shown: &[u8], from: impl Display) -> Option<Diagnosis> {
    let text = secret.expose();
    let quoted = text.trim_matches(['"', '\'']);
    for (other, cause, what) in [
        (quoted.to_owned(), Cause::SecretQuoted, "has quotes around it"),
        (text.trim().to_owned(), Cause::SecretWhiteSpace, "has white space around it"),
        (unescaped(text), Cause::SecretEscaped, "has percent escapes in it"),
        (text.to_lowercase(), Cause::SecretCase, "has another case"),
        (text.to_uppercase(), Cause::SecretCase, "has another case"),
    ] {
        if other != text && same(shown, &Secret::new(other)) {
            return Some(found(
                cause,
                format!("{from} shows the right secret, but the one here {what}"),
            ));
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The token in another header.
fn elsewhere(scheme: &TokenScheme, received: &Received, rejection: &Rejection) -> Diagnosis {
    let prefixed = |value: &[u8]| {
        scheme.secrets.iter().any(|(_, s)| same(value, s) || same(&after_blank(value), s))
    };
    let at = received.headers.iter().take(64).find(|(_, value)| prefixed(value));
    match at {
        Some((name, _)) => found(
            Cause::SignatureHeader,
            format!(
                "the right token stands in header:{name}, and this source looks in {}: set `token.from`",
                scheme.from
            ),
        ),
        None => Diagnosis::new(
            Cause::SignatureMissing,
            format!(
                "{}: is a token set on the provider's side? does a proxy remove it?",
                rejection.detail
            ),
        ),
    }
}

/// Why a user and password are refused.
pub(super) fn basic(scheme: &BasicScheme, received: &Received, rejection: &Rejection) -> Diagnosis {
    let shown = received.headers.one(AUTHORIZATION).ok().flatten().unwrap_or_default();
    if shown.is_empty() {
        let sentence = format!(
            "{}: some providers send it only after an answer 401 with WWW-Authenticate",
            rejection.detail
        );
        return Diagnosis::new(Cause::SignatureMissing, sentence);
    }
    let encoded = after_blank(shown);
    let fits = |text: &[u8]| scheme.secrets.iter().any(|(_, secret)| same(text, secret));
    if fits(&encoded) || fits(shown) {
        let sentence = "header:authorization holds the right user and password, but not in base64 after `Basic `";
        return found(Cause::TokenEncoding, sentence.to_owned());
    }
    let credentials = decoded(&encoded);
    if fits(credentials.trim_ascii()) {
        let sentence =
            "header:authorization holds the right user and password, with white space around them";
        return found(Cause::SecretWhiteSpace, sentence.to_owned());
    }
    for (_, secret) in &scheme.secrets {
        if let Some(diagnosis) = other_form(secret, &credentials, "header:authorization") {
            return diagnosis;
        }
    }
    let colon = credentials.iter().position(|byte| *byte == b':');
    let password = colon.map_or(&[][..], |at| &credentials[at + 1..]);
    let right = |(_, secret): &&(usize, Secret)| {
        let own = secret.expose().split_once(':').map_or("", |(_, own)| own);
        !password.is_empty() && same(password, &Secret::new(own.to_owned()))
    };
    if scheme.secrets.iter().any(|secret| right(&secret)) {
        let sentence = "header:authorization holds the right password, with another user: write the secret as \"user:password\"";
        return found(Cause::TokenUser, sentence.to_owned());
    }
    match rejection.code {
        Code::SignatureMismatch => Diagnosis::new(
            Cause::TokenWrong,
            "header:authorization holds another user and password than this source's: copy them anew on both sides",
        ),
        code => Diagnosis::new(Cause::of(code), rejection.detail.clone()),
    }
}

/// What stands behind the first blank.
fn after_blank(text: &[u8]) -> Vec<u8> {
    text.iter()
        .position(|byte| *byte == b' ')
        .map_or(text, |at| &text[at + 1..])
        .trim_ascii()
        .to_vec()
}

fn unquoted(text: &[u8]) -> Vec<u8> {
    let quotes = |byte: &u8| matches!(byte, b'"' | b'\'');
    let from = text.iter().position(|b| !quotes(b)).unwrap_or(0);
    let to = text.iter().rposition(|b| !quotes(b)).map_or(text.len(), |at| at + 1);
    text.get(from..to).unwrap_or_default().to_vec()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    Encoding::Base64.decode_key(text).unwrap_or_default()
}
