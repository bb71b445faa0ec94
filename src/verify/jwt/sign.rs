//! Making a token as the provider would.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::compact::{Token, object};
use super::{JwtKey, JwtScheme};
use crate::received::Received;
use crate::verify::digest::DigestPlace;
use crate::verify::encoding::Encoding;
use crate::verify::key::no_key_to_sign;

/// How long a token of ours is good.
const GOOD_FOR: TimeDelta = TimeDelta::seconds(60);

impl JwtScheme {
    /// Puts a token into the request that [`JwtScheme::verify`] accepts. What a token that is there
    /// already claims is kept, but for what must be right.
    pub(crate) fn sign(
        &self,
        received: &mut Received,
        now: DateTime<Utc>,
        secret: usize,
        fresh_id: &str,
    ) -> Result<(), String> {
        let Some(key) = self.keys.iter().find(|key| key.position == secret) else {
            return Err(no_key_to_sign(self.fetched.is_some(), secret));
        };
        for precondition in &self.preconditions {
            precondition.meet(received)?;
        }
        let old = self.text(received).ok();
        let old = old.as_deref().and_then(|text| Token::read(text).ok()?.claims().ok());
        let mut claims = old.unwrap_or_default();
        let mut put = |name: &str, value: Value| claims.0.insert(name.to_owned(), value);
        put("iat", now.timestamp().into());
        put("exp", (now + GOOD_FOR).timestamp().into());
        if self.expected.nbf {
            put("nbf", now.timestamp().into());
        }
        for (name, value) in
            [("iss", self.expected.iss.first()), ("aud", self.expected.aud.first())]
        {
            if let Some(value) = value {
                put(name, value.as_str().into());
            }
        }
        for (name, value) in &self.expected.claims {
            put(name, value.as_str().into());
        }
        if let (Some(name), Some(id)) = (&self.by_id, &key.id) {
            put(name, id.as_str().into());
        }
        for (name, value) in self.expected.urls.of(received) {
            put(name, value.into());
        }
        if let Some(digest) = &self.body_digest
            && let DigestPlace::Claim(name) = &digest.from
            && !(digest.absent_when_empty && received.body.is_empty())
        {
            put(name, digest.of(&received.body).into());
        }
        if !fresh_id.is_empty() && !claims.0.contains_key("jti") {
            claims.0.insert("jti".to_owned(), fresh_id.into());
        }
        let token = written(key, &claims.0.into_iter().collect())?;
        self.from.put(received, &format!("{}{token}", self.prefix))
    }
}

/// A token with these claims, by this key.
pub(super) fn written(
    key: &JwtKey,
    claims: &serde_json::Map<String, Value>,
) -> Result<String, String> {
    let header = json!({ "alg": key.alg.name(), "typ": "JWT" }).to_string();
    let claims = Value::Object(claims.clone()).to_string();
    debug_assert!(object(claims.as_bytes()).is_some());
    let part = |bytes: &[u8]| Encoding::Base64Url.encode(bytes);
    let signed = format!("{}.{}", part(header.as_bytes()), part(claims.as_bytes()));
    let signature = key.material.sign(&vec![signed.as_bytes().into()])?;
    Ok(format!("{signed}.{}", part(&signature)))
}
