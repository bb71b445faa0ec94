//! The source's own secrets, read in other ways.

use sha1::{Digest, Sha1};

use super::Cause;
use super::search::{Case, Change, Flow, Search, Visit};
use crate::secret::Secret;
use crate::verify::encoding::Encoding;
use crate::verify::key::{Algorithm, Key, Material};
use crate::verify::mac::{Hash, Mac};

/// How a text becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Text,
    Hex,
    Base64,
    Base64Url,
    Sha1Of,
}

const READINGS: [Reading; 5] =
    [Reading::Text, Reading::Hex, Reading::Base64, Reading::Base64Url, Reading::Sha1Of];

/// Prefixes that providers show before a secret, and that are part of the key with some only.
const PREFIXES: [&str; 4] = ["whsec_", "v1,whsec_", "sk_", "Bearer "];

/// Shorter ones would be guesses, not keys.
const KEY_BYTES_MIN: usize = 4;

impl Reading {
    fn key(self, text: &str) -> Option<Vec<u8>> {
        let key = match self {
            Self::Text => text.as_bytes().to_vec(),
            Self::Hex => Encoding::Hex.decode_key(text)?,
            Self::Base64 => Encoding::Base64.decode_key(text)?,
            Self::Base64Url => Encoding::Base64Url.decode_key(text)?,
            Self::Sha1Of => Sha1::digest(text.as_bytes()).to_vec(),
        };
        (key.len() >= KEY_BYTES_MIN).then_some(key)
    }

    /// How it is said, and written in the config.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("its text as it stands", "utf8"),
            Self::Hex => ("hex", "hex"),
            Self::Base64 => ("base64", "base64"),
            Self::Base64Url => ("URL-safe base64", "base64url"),
            Self::Sha1Of => ("the SHA-1 of its text", "sha1_of"),
        }
    }
}

/// Another text of a secret: what it is called, its cause, and how it is made.
struct Form {
    cause: Cause,
    said: &'static str,
    make: fn(&str) -> Option<String>,
}

fn form(cause: Cause, said: &'static str, make: fn(&str) -> Option<String>) -> Form {
    Form { cause, said, make }
}

fn without_prefix(text: &str) -> Option<String> {
    PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).map(str::to_owned)
}

fn unquoted(text: &str) -> Option<String> {
    let inner = text.trim();
    ['"', '\'', '`']
        .iter()
        .find_map(|quote| inner.strip_prefix(*quote)?.strip_suffix(*quote))
        .map(str::to_owned)
}

fn forms() -> Vec<Form> {
    use Cause::{SecretCase, SecretEscaped, SecretPrefix, SecretQuoted, SecretWhiteSpace};
    vec![
        form(SecretPrefix, "without the prefix it has here", without_prefix),
        form(SecretPrefix, "with `whsec_` before it, which is missing here", |text| {
            Some(format!("whsec_{text}"))
        }),
        form(SecretQuoted, "without the quotes around it here", unquoted),
        form(SecretQuoted, "with quotes around it, as the sender seems to have it", |text| {
            Some(format!("\"{text}\""))
        }),
        form(SecretWhiteSpace, "without the white space around it here", |text| {
            Some(text.trim().to_owned())
        }),
        form(SecretWhiteSpace, "without the `\\n` that is written out behind it here", |text| {
            text.strip_suffix("\\n").map(str::to_owned)
        }),
        form(SecretEscaped, "when its percent escapes here are resolved", |text| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
            Some(text.into_owned())
        }),
        form(SecretWhiteSpace, "with a line end behind it, as the sender has it", |text| {
            Some(format!("{text}\n"))
        }),
        form(SecretWhiteSpace, "with CR and LF behind it, as the sender has it", |text| {
            Some(format!("{text}\r\n"))
        }),
        form(SecretWhiteSpace, "with a blank behind it, as the sender has it", |text| {
            Some(format!("{text} "))
        }),
        form(SecretWhiteSpace, "with a blank before it, as the sender has it", |text| {
            Some(format!(" {text}"))
        }),
        form(SecretCase, "in lower case", |text| Some(text.to_lowercase())),
        form(SecretCase, "in upper case", |text| Some(text.to_uppercase())),
    ]
}

/// Each secret in each other form and reading.
pub(super) fn variants(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let plain = form(Cause::SecretDecoding, "", |text| Some(text.to_owned()));
    for form in std::iter::once(plain).chain(forms()) {
        for reading in READINGS {
            let Some((keys, used)) = keys(case, &form, reading) else { continue };
            let mut changed = case.clone();
            changed.scheme.keys = keys;
            visit(search, changed, change(&form, reading, used))?;
        }
    }
    Flow::Continue(())
}

fn change(form: &Form, reading: Reading, used: Option<Reading>) -> Change {
    let (said, word) = reading.words();
    // What the source reads in the same way differs by its form only.
    if form.cause != Cause::SecretDecoding && used == Some(reading) {
        let sentence =
            format!("the secret fits {}: copy it exactly as the provider has it", form.said);
        return Change::new(form.cause, sentence);
    }
    let form = if form.said.is_empty() { String::new() } else { format!(" {}", form.said) };
    let sentence = format!(
        "the secret fits{form} when the key is {said}, which is not how this source reads it: set key = {{ decode = \"{word}\" }}, or use the preset that says so"
    );
    Change::new(Cause::SecretDecoding, sentence)
}

/// What the text of one secret makes in each other form and reading, when `own` is how it is read.
pub(super) fn others(secret: &Secret, own: &Mac, hash: Hash) -> Vec<(Mac, Change)> {
    let text = secret.expose();
    let used = reading_of(text, own, hash);
    let plain = form(Cause::SecretDecoding, "", |text| Some(text.to_owned()));
    let mut found = Vec::new();
    for form in std::iter::once(plain).chain(forms()) {
        let Some(text) = (form.make)(text) else { continue };
        for reading in READINGS {
            let mac = reading.key(&text).and_then(|bytes| Mac::new(hash, &bytes));
            let Some(mac) = mac.filter(|mac| !same(mac, own)) else { continue };
            found.push((mac, change(&form, reading, used)));
        }
    }
    found
}

/// The keys, without those that the source has already; with how the source reads the text.
fn keys(case: &Case, form: &Form, reading: Reading) -> Option<(Vec<Key>, Option<Reading>)> {
    let scheme = &case.scheme;
    let mut keys = Vec::new();
    let mut used = None;
    for key in &scheme.keys {
        let Some(text) = (form.make)(key.secret.expose()) else { continue };
        match (scheme.algorithm, &key.material) {
            (Algorithm::Hmac(hash), Material::Mac(own)) => {
                used = used.or_else(|| reading_of(key.secret.expose(), own, hash));
                let Some(bytes) = reading.key(&text) else { continue };
                let Some(mac) = Mac::new(hash, &bytes) else { continue };
                if !same(&mac, own) {
                    keys.push(Key { material: Material::Mac(mac), ..key.clone() });
                }
            }
            (Algorithm::Digest(_), _) if reading == Reading::Text => {
                used = Some(Reading::Text);
                if text != key.secret.expose() && text.len() >= KEY_BYTES_MIN {
                    keys.push(Key { secret: Secret::new(text), ..key.clone() });
                }
            }
            _ => {}
        }
    }
    (!keys.is_empty()).then_some((keys, used))
}

/// How the source reads a secret.
fn reading_of(text: &str, own: &Mac, hash: Hash) -> Option<Reading> {
    READINGS.into_iter().find(|reading| {
        let stripped = text.strip_prefix("whsec_").unwrap_or(text);
        [text, stripped].into_iter().any(|text| {
            reading
                .key(text)
                .and_then(|bytes| Mac::new(hash, &bytes))
                .is_some_and(|m| same(&m, own))
        })
    })
}

/// The same keys for another hash.
pub(super) fn for_hash(keys: &[Key], from: Hash, to: Hash) -> Vec<Key> {
    let other = |key: &Key| {
        let Material::Mac(own) = &key.material else { return None };
        let text = key.secret.expose();
        let stripped = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = READINGS.into_iter().find_map(|reading| {
            [text, stripped].into_iter().find_map(|text| {
                let bytes = reading.key(text)?;
                same(&Mac::new(from, &bytes)?, own).then_some(bytes)
            })
        })?;
        Some(Key { material: Material::Mac(Mac::new(to, &bytes)?), ..key.clone() })
    };
    keys.iter().filter_map(other).collect()
}

/// Whether two MACs have the same key: they make the same of nothing.
fn same(one: &Mac, other: &Mac) -> bool {
    one.clone().verifies(&other.clone().finish())
}
