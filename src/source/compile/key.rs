//! Compiles `key`: from the source's secrets to keys.

use sha1::{Digest, Sha1};

use super::super::spec::{KeyDecode, KeySpec, OneOrMore, SchemeSpec};
use super::scheme::secrets;
use super::{Faults, Surroundings};
use crate::secret::{Secret, SecretKind};
use crate::verify::encoding::Encoding;
use crate::verify::key::{Algorithm, Key, Material};
use crate::verify::mac::Mac;
use crate::verify::public::{PublicAlgorithm, PublicKey};

/// The keys of every secret that this scheme uses.
pub(super) fn keys(
    spec: &SchemeSpec,
    algorithm: Algorithm,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Vec<Key> {
    let default = KeySpec::default();
    let key = spec.key.as_ref().unwrap_or(&default);
    let utf8 = OneOrMore::One(KeyDecode::Utf8);
    let words = key.decode.as_ref().unwrap_or(&utf8).as_slice();
    if !words_suit(matches!(algorithm, Algorithm::Public(_)), words, path, faults) {
        return Vec::new();
    }
    let kind = |secret: &Secret| match algorithm {
        Algorithm::Public(_) => SecretKind::PublicKey,
        Algorithm::Hmac(_) | Algorithm::Digest(_) => hmac_kind(secret, key, words),
    };
    let mut keys = Vec::new();
    for (position, secret) in secrets(spec, path, surroundings, faults, kind) {
        let fault = |faults: &mut Faults, why: &str| {
            faults.push(&format!("secrets[{position}]"), why);
        };
        let Some((id, text)) = bare(&secret, key) else {
            fault(faults, "has no id: the request names its key, so write it as \"id:key\"");
            continue;
        };
        let made: Result<Vec<Material>, String> = match algorithm {
            Algorithm::Public(algorithm) => public(algorithm, &text, words).map(|key| vec![key]),
            Algorithm::Digest(hash) => Ok(vec![Material::Digest(hash)]),
            Algorithm::Hmac(hash) => {
                let macs = words.iter().filter_map(|word| decoded(&text, *word));
                let macs: Vec<_> =
                    macs.filter_map(|key| Mac::new(hash, &key)).map(Material::Mac).collect();
                if macs.is_empty() { Err(unreadable(words)) } else { Ok(macs) }
            }
        };
        match made {
            Err(why) => fault(faults, &why),
            Ok(made) => keys.extend(made.into_iter().map(|material| Key {
                position,
                id: id.clone(),
                secret: Secret::new(text.clone()),
                material,
            })),
        }
    }
    keys
}

/// The id and the bytes of the first key of the first scheme that makes a MAC, or of the first secret
/// as text where none does: what a handshake's answer is signed by.
pub(in crate::source) fn first_hmac(
    verify: Option<&SchemeSpec>,
    surroundings: &Surroundings<'_>,
) -> Result<(Option<String>, Vec<u8>), String> {
    let spec = verify.and_then(first_with_mac);
    let key = spec.and_then(|spec| spec.key.clone()).unwrap_or_default();
    let at = key.secrets.as_ref().and_then(|positions| positions.first()).copied().unwrap_or(0);
    let secret = surroundings.secrets.and_then(|secrets| secrets.get(at));
    let secret = secret.ok_or("needs a secret in the config")?;
    let (id, text) = bare(secret, &key).ok_or("needs a secret that is written \"id:key\"")?;
    let utf8 = OneOrMore::One(KeyDecode::Utf8);
    let words = key.decode.as_ref().unwrap_or(&utf8).as_slice();
    let bytes = words.iter().find_map(|word| decoded(&text, *word));
    Ok((id, bytes.ok_or_else(|| unreadable(words))?))
}

fn first_with_mac(spec: &SchemeSpec) -> Option<&SchemeSpec> {
    if spec.hmac.is_some() {
        return Some(spec);
    }
    spec.any.iter().flatten().chain(spec.all.iter().flatten()).find_map(first_with_mac)
}

/// What a secret that makes a MAC is checked as. One that can't be decoded gets its own fault.
pub(super) fn hmac_kind(secret: &Secret, key: &KeySpec, words: &[KeyDecode]) -> SecretKind {
    let bytes = bare(secret, key)
        .and_then(|(_, text)| words.iter().find_map(|word| decoded(&text, *word)))
        .map_or(usize::MAX, |key| key.len());
    SecretKind::HmacKey { bytes }
}

/// Whether the words suit keys that are public, or that aren't.
pub(super) fn words_suit(
    public: bool,
    words: &[KeyDecode],
    path: &str,
    faults: &mut Faults,
) -> bool {
    let mut suits = true;
    let of_public = |word: &KeyDecode| matches!(word, KeyDecode::Spki | KeyDecode::Pem);
    if !public && words.iter().any(of_public) {
        faults.push(&format!("{path}.key.decode"), "a secret is no public key");
        suits = false;
    }
    let of_secret = |word: &KeyDecode| {
        matches!(word, KeyDecode::Sha1Of | KeyDecode::HtmlUnescape | KeyDecode::Whsec)
    };
    if public && words.iter().any(of_secret) {
        faults.push(&format!("{path}.key.decode"), "a public key is no secret");
        suits = false;
    }
    suits
}

/// The id of a secret, where it has one, and its text without the prefix that is taken off.
pub(super) fn bare(secret: &Secret, key: &KeySpec) -> Option<(Option<String>, String)> {
    let (id, text) = match key.by_id {
        Some(_) => {
            // A JSON Web Key has colons itself.
            let whole = secret.expose();
            let (id, text) = match whole.find(":{") {
                Some(at) => (&whole[..at], &whole[at + 1..]),
                None => whole.rsplit_once(':')?,
            };
            (Some(id.to_owned()).filter(|id| !id.is_empty())?.into(), text)
        }
        None => (None, secret.expose()),
    };
    let stripped = key.strip_prefix.iter().find_map(|prefix| text.strip_prefix(prefix.as_str()));
    Some((id, stripped.unwrap_or(text).to_owned()))
}

pub(super) fn unreadable(words: &[KeyDecode]) -> String {
    let wanted = match words.first() {
        Some(KeyDecode::Hex) => "hex",
        Some(KeyDecode::Whsec) => "base64 after `whsec_`",
        Some(KeyDecode::Base64url) => "URL-safe base64",
        _ => "base64",
    };
    format!("is not {wanted}, as this scheme's keys are: copy it whole")
}

pub(super) fn decoded(text: &str, decode: KeyDecode) -> Option<Vec<u8>> {
    match decode {
        KeyDecode::Utf8 => Some(text.as_bytes().to_vec()),
        KeyDecode::Hex => Encoding::Hex.decode_key(text),
        KeyDecode::Base64 => Encoding::Base64.decode_key(text),
        KeyDecode::Base64url => Encoding::Base64Url.decode_key(text),
        KeyDecode::Whsec => {
            Encoding::Base64.decode_key(text.strip_prefix("whsec_").unwrap_or(text))
        }
        KeyDecode::Sha1Of => Some(Sha1::digest(text.as_bytes()).to_vec()),
        KeyDecode::HtmlUnescape => Some(unescaped(text).into_bytes()),
        KeyDecode::Spki | KeyDecode::Pem => None,
    }
}

/// As WordPress's `wp_specialchars_decode(…, ENT_QUOTES)`.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (from, to) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#039;", "'"),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        // Last: what it makes is not decoded again.
        ("&amp;", "&"),
    ] {
        out = out.replace(from, to);
    }
    out
}

/// Keys in PEM and JSON Web Keys are taken whatever the words say: people have them in every form.
pub(super) fn public(
    algorithm: PublicAlgorithm,
    text: &str,
    words: &[KeyDecode],
) -> Result<Material, String> {
    if text.contains("-----BEGIN") {
        // As it stands in JSON, or in a variable that holds one line.
        let lines = if text.contains('\n') { text.to_owned() } else { text.replace("\\n", "\n") };
        return PublicKey::from_pem(algorithm, &lines).map(Material::Public);
    }
    if text.trim_start().starts_with('{') {
        return PublicKey::from_json(algorithm, text).map(Material::Public);
    }
    let mut why = "is not a public key in PEM (BEGIN PUBLIC KEY), nor a JSON Web Key".to_owned();
    for word in words {
        let encoding = match word {
            KeyDecode::Hex => Encoding::Hex,
            KeyDecode::Base64 | KeyDecode::Spki => Encoding::Base64,
            KeyDecode::Base64url => Encoding::Base64Url,
            _ => continue,
        };
        match PublicKey::from_text(algorithm, encoding, text) {
            Ok(key) => return Ok(Material::Public(key)),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}
