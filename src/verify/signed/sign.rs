//! Signing as the provider would.

use chrono::{DateTime, Utc};

use super::{From, KeyId, SignedScheme};
use crate::received::Received;
use crate::verify::digest::BodyDigest;
use crate::verify::field::{Field, spliced};
use crate::verify::key::{Key, no_key_to_sign};
use crate::verify::signature::Signatures;
use crate::verify::template::Context;

impl SignedScheme {
    /// Adds timestamp, id and signature as the provider would. Values that are there already and
    /// that only the caller can know (an id, other signed headers) are kept.
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
        if let Some(field) = &self.id
            && !field.read(received).is_ok_and(|id| id.is_some_and(|id| !id.is_empty()))
        {
            field.put(received, fresh_id)?;
        }
        if let (Some(KeyId::Field(field)), Some(id)) = (&self.by_id, &key.id) {
            field.put(received, id)?;
        }
        let Some(selector) = &self.each else {
            let ts = self.put_timestamp(received, now)?;
            if let Some(digest) = &self.body_digest {
                put_digest(digest, received)?;
            }
            let whole = 0..received.body.len();
            let signature = self.signature(received, whole, ts.as_deref(), key)?;
            return self.put(received, &signature);
        };
        let From::Field(Field::Body(place)) = &self.from else {
            return Err(format!("{} can't hold the signature of each part", self.from));
        };
        // From the last to the first: what is put into one part moves those behind it.
        let parts = selector.select(&received.body).map_err(|error| error.to_string())?.parts;
        for part in parts.into_iter().rev() {
            let signature = self.signature(received, part.span.clone(), None, key)?;
            received.body = spliced(&received.body, part.span, place, &signature)?;
        }
        Ok(())
    }

    /// The text of the signature over this part of the body.
    fn signature(
        &self,
        received: &Received,
        part: std::ops::Range<usize>,
        ts: Option<&str>,
        key: &Key,
    ) -> Result<String, String> {
        let standing = self.standing(received)?;
        let mut before = Signatures::default();
        if let Some(text) = &standing {
            self.grammar.read(text, &mut before).map_err(|rejection| rejection.detail)?;
        }
        let part = &received.body[part];
        let id = self.id(received, part).map_err(|rejection| rejection.detail)?;
        let context = Context {
            part,
            ts: ts.map(str::as_bytes),
            id: id.as_deref(),
            secret: key.secret.expose().as_bytes(),
            beside: &before.beside,
            time_header: self.time_header(),
        };
        let content = self.content.resolve(received, &context).map_err(|r| r.detail)?;
        let bytes = key.material.sign(&content)?;
        let encoding = self.encodings.first().ok_or("the scheme names no encoding")?;
        let encoded = encoding.encode(&bytes);
        if before.beside.is_empty() {
            return Ok(self.grammar.write(&encoded, ts, key.id.as_deref()));
        }
        Ok(self.grammar.write_beside(&encoded, ts, &before.beside))
    }

    /// The signature's text as the request brings it, where values beside it are signed: which they
    /// are only the caller can know, so they are taken from there.
    fn standing(&self, received: &Received) -> Result<Option<Vec<u8>>, String> {
        if !self.content.names_beside() {
            return Ok(None);
        }
        if let From::Field(field) = &self.from
            && let Ok(Some(text)) = field.read(received)
        {
            return Ok(Some(text.into_owned()));
        }
        Err(format!(
            "what this scheme signs stands beside its signature: give {} without one, such as \"t=0,h=x-event-id,v1=00\"",
            self.from
        ))
    }

    fn put(&self, received: &mut Received, signature: &str) -> Result<(), String> {
        match &self.from {
            From::Field(field) => field.put(received, signature),
            From::Headers(prefix) => Field::Header(format!("{prefix}1")).put(received, signature),
        }
    }

    /// The timestamp's text, written into the request unless it goes with the signature.
    fn put_timestamp(
        &self,
        received: &mut Received,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, String> {
        let Some(clock) = &self.clock else { return Ok(None) };
        let text = clock.unit.write(now);
        match &clock.from {
            None => Ok(Some(text)),
            Some(field) => field.put(received, &text).map(|()| Some(text)),
        }
    }
}

fn put_digest(digest: &BodyDigest, received: &mut Received) -> Result<(), String> {
    let text = digest.of(&received.body);
    match digest.field() {
        Some(field) => field.put(received, &text),
        None => Ok(()),
    }
}
