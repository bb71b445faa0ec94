//! A template over a handshake: what an answer repeats, or computes, of what was sent.
//!
//! The sender may be a stranger, so nothing is repeated as it came but plain text: no control
//! characters, JSON only as a JSON text, and no MAC over whatever the stranger likes.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::{malformed, text};
use crate::received::Received;
use crate::secret::Secret;
use crate::verify::Rejection;
use crate::verify::encoding::Encoding;
use crate::verify::field::Field;
use crate::verify::mac::{Hash, Mac};

/// The longest value that an answer repeats, in bytes.
pub const ECHO_BYTES_MAX: usize = 4096;

/// The longest body that an answer repeats whole, in bytes.
pub const BODY_ECHO_BYTES_MAX: usize = 64 * 1024;

/// The longest value of an unsigned handshake that is signed, in bytes.
const UNSIGNED_MAC_BYTES_MAX: usize = 64;

/// A template over a request.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    parts: Vec<Part>,
    /// Whether the handshake proves where it comes from.
    signed: bool,
    /// Whether it is JSON.
    json: bool,
}

impl Echo {
    /// Whether a MAC by the source's secret stands in it.
    pub(super) fn has_mac(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Made(Make::Hmac(..), _)))
    }
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Made(Make, Place),
}

/// What is made of a value.
#[derive(Debug, Clone)]
enum Make {
    /// The value itself.
    Plain,
    /// A JSON text of it, in quotes.
    Json,
    /// Its MAC by the source's first secret.
    Hmac(Box<Mac>, Encoding),
    /// Its SHA-256.
    Sha256(Encoding),
}

#[derive(Debug, Clone)]
enum Place {
    Field(Field),
    /// The whole body.
    Body,
    /// A value of the config.
    Config(Secret),
}

/// What words stand for that no request brings.
pub(super) trait Words {
    /// The value of a param, or how to give it.
    fn param(&self, name: &str) -> Result<Secret, String>;
    /// The id of the first secret, or why there is none.
    fn key_id(&self) -> Result<Secret, String>;
    /// A MAC keyed by the first secret, or why there is none.
    fn mac(&self, hash: Hash) -> Result<Mac, String>;
}

impl Echo {
    /// Reads a template; `{{` and `}}` stand for braces.
    pub(super) fn parse(text: &str, words: &dyn Words, signed: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let end = match (brace, rest.find('}')) {
                ("{", Some(end)) => end,
                _ => return Err(format!("`{text}` has a `{brace}` without its partner")),
            };
            parts.push(Part::Literal(std::mem::take(&mut literal)));
            parts.push(word(&rest[..end], words)?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Self { parts, signed, json: false })
    }

    /// What it says about a request.
    pub(super) fn resolve(&self, received: &Received) -> Result<String, Rejection> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Made(make, place) => out.push_str(&self.made(make, place, received)?),
            }
        }
        Ok(out)
    }

    /// Whether it repeats nothing of a request.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| !matches!(part, Part::Made(_, Place::Field(_) | Place::Body)))
    }

    /// Whether it is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(text) if text.is_empty()))
    }

    /// Makes it JSON. False when a value might break out of it: every one must stand in it as a JSON
    /// text or in an alphabet that needs no escaping, or the whole of it must be the whole body.
    pub(super) fn make_json(&mut self) -> bool {
        self.json = true;
        let whole = self.is_whole_body();
        self.parts.iter().all(|part| match part {
            Part::Literal(_) | Part::Made(Make::Json | Make::Hmac(..) | Make::Sha256(_), _) => true,
            Part::Made(Make::Plain, _) => whole,
        })
    }

    /// Whether it is `{body}` and nothing else.
    fn is_whole_body(&self) -> bool {
        let mut made = 0;
        let only = self.parts.iter().all(|part| match part {
            Part::Literal(text) => text.is_empty(),
            Part::Made(Make::Plain, Place::Body) => {
                made += 1;
                true
            }
            Part::Made(..) => false,
        });
        only && made == 1
    }

    fn made(&self, make: &Make, place: &Place, received: &Received) -> Result<String, Rejection> {
        let value: Cow<'_, str> = match place {
            Place::Field(field) => Cow::Owned(text(field, received)?),
            Place::Config(value) => Cow::Borrowed(value.expose()),
            Place::Body => match std::str::from_utf8(&received.body) {
                Ok(body) if body.len() <= BODY_ECHO_BYTES_MAX => {
                    if self.json && serde_json::from_str::<IgnoredAny>(body).is_err() {
                        return Err(malformed("the body is not JSON"));
                    }
                    Cow::Borrowed(body)
                }
                _ => {
                    let detail =
                        format!("the body is longer than {BODY_ECHO_BYTES_MAX} bytes, or not text");
                    return Err(malformed(&detail));
                }
            },
        };
        match make {
            Make::Plain => plain(&value, place).map(|()| value.into_owned()),
            Make::Json => Ok(serde_json::Value::from(&*value).to_string()),
            Make::Sha256(encoding) => Ok(encoding.encode(&Sha256::digest(value.as_bytes()))),
            Make::Hmac(mac, encoding) => {
                if !self.signed && !is_challenge(&value) {
                    let detail = "what an unsigned handshake wants signed is no challenge: letters, digits and -_=+/. only";
                    return Err(malformed(detail));
                }
                let mut mac = mac.clone();
                mac.update(value.as_bytes());
                Ok(encoding.encode(&mac.finish()))
            }
        }
    }
}

/// Refuses what a terminal, a log or a header would act upon. A whole body may have lines.
fn plain(value: &str, place: &Place) -> Result<(), Rejection> {
    let lines = matches!(place, Place::Body);
    let bad = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'));
    match place {
        Place::Field(field) if value.chars().any(bad) => {
            Err(malformed(&format!("{field} holds control characters")))
        }
        Place::Body if value.chars().any(bad) => {
            Err(malformed("the body holds control characters"))
        }
        _ => Ok(()),
    }
}

/// Whether this is what a challenge looks like. A provider that signs its events by the same secret
/// would, for a stranger, sign any event that the stranger asks about: an event has braces, brackets,
/// angle brackets, `&`, or is longer. Nor is it JSON of any other kind: a number is a whole body too.
fn is_challenge(value: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_=+/.".contains(&b);
    (1..=UNSIGNED_MAC_BYTES_MAX).contains(&value.len())
        && value.bytes().all(byte)
        && serde_json::from_str::<serde::de::IgnoredAny>(value).is_err()
}

fn word(word: &str, words: &dyn Words) -> Result<Part, String> {
    if word == "key_id" {
        return Ok(Part::Made(Make::Plain, Place::Config(words.key_id()?)));
    }
    // A place may hold colons: the names of headers can't, but those of query parameters can.
    let parts: Vec<&str> = word.splitn(4, ':').collect();
    let (make, name) = match parts.as_slice() {
        ["json", ..] => (Make::Json, &word["json:".len()..]),
        ["hmac", hash, encoding, name] => {
            let hash = match *hash {
                "sha1" => Hash::Sha1,
                "sha256" => Hash::Sha256,
                "sha384" => Hash::Sha384,
                "sha512" => Hash::Sha512,
                _ => return Err(unknown(word)),
            };
            (Make::Hmac(Box::new(words.mac(hash)?), self::encoding(encoding, word)?), *name)
        }
        ["sha256", encoding, ..] => {
            let name = word.splitn(3, ':').nth(2).ok_or_else(|| unknown(word))?;
            (Make::Sha256(self::encoding(encoding, word)?), name)
        }
        _ => (Make::Plain, word),
    };
    Ok(Part::Made(make, place(name, words).ok_or_else(|| unknown(word))??))
}

fn encoding(text: &str, word: &str) -> Result<Encoding, String> {
    match text {
        "hex" => Ok(Encoding::Hex),
        "base64" => Ok(Encoding::Base64),
        "base64url" => Ok(Encoding::Base64Url),
        _ => Err(unknown(word)),
    }
}

/// The place that a word names; `None` when it is none.
fn place(name: &str, words: &dyn Words) -> Option<Result<Place, String>> {
    if name == "body" {
        return Some(Ok(Place::Body));
    }
    let (place, name) = name.split_once('.')?;
    match place {
        "param" if !name.is_empty() => Some(words.param(name).map(Place::Config)),
        "query" | "header" | "form" | "body" => {
            Some(Field::parse(&format!("{place}:{name}")).map(Place::Field))
        }
        _ => None,
    }
}

fn unknown(word: &str) -> String {
    format!(
        "{{{word}}} is not known here: use {{body}}, {{query.x}}, {{header.x}}, {{form.x}}, {{body./x}}, {{param.x}}, {{key_id}}, or one of these behind `json:`, `hmac:sha256:hex:` or `sha256:hex:`"
    )
}
