//! Takes a token apart, strictly: three parts, each in the one spelling of base64url, and no name
//! twice in an object, since two readers could take two values.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::verify::encoding::Encoding;

/// The longest token that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A token in its parts. Nothing of it is verified yet.
pub(super) struct Token<'a> {
    /// What is signed: header and claims as they are written.
    pub(super) signed: &'a str,
    /// What the header says.
    pub(super) header: Object,
    /// The signature's bytes.
    pub(super) signature: Vec<u8>,
    claims: Vec<u8>,
}

/// A JSON object in which no name stands twice.
#[derive(Debug, Default)]
pub(super) struct Object(pub(super) BTreeMap<String, Value>);

impl<'a> Token<'a> {
    /// Takes a token apart. The reason is one that goes behind "the token".
    pub(super) fn read(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err("is longer than 16 KiB");
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("is not of three parts");
        };
        let signed = &text[..header.len() + 1 + claims.len()];
        let decode = |part: &str| Encoding::Base64Url.decode(part.as_bytes());
        let header = decode(header).ok_or("has a header that is not base64url")?;
        let header = object(&header).ok_or("has a header that is no plain JSON object")?;
        if header.0.contains_key("crit") {
            // It says that who doesn't know an extension must refuse the token. We know none.
            return Err("asks for an extension (`crit`), and none is known");
        }
        let claims = decode(claims).ok_or("has claims that are not base64url")?;
        let signature = decode(signature).ok_or("has a signature that is not base64url")?;
        if signature.is_empty() {
            return Err("has no signature");
        }
        Ok(Self { signed, header, signature, claims })
    }

    /// What it claims.
    pub(super) fn claims(&self) -> Result<Object, &'static str> {
        object(&self.claims).ok_or("has claims that are no plain JSON object")
    }
}

impl Object {
    /// The text under a name; `None` also when something else stands there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

/// An object; `None` for anything else, and when a name stands twice.
pub(super) fn object(json: &[u8]) -> Option<Object> {
    serde_json::from_slice(json).ok()
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut read = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if read.insert(name, value).is_some() {
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(read))
            }
        }
        deserializer.deserialize_map(Reading)
    }
}
