//! What a request holds, as far as it can be read: for diagnosis, in this room only, and to know again
//! what was signed.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::SignedScheme;
use crate::received::Received;
use crate::verify::key::Key;
use crate::verify::signature::Signatures;
use crate::verify::template::{Content, Context};

impl SignedScheme {
    /// When it was signed, whether that is true or not.
    pub(in crate::verify) fn signed_time(&self, received: &Received) -> Option<DateTime<Utc>> {
        let clock = self.clock.as_ref().filter(|clock| clock.signed)?;
        let lines = self.lines(received, &received.body).ok()?;
        let signatures = self.read(&lines)?;
        let ts = self.timestamp(received, &received.body, signatures.ts).ok()??;
        clock.unit.parse(&ts).ok()
    }

    /// The signatures' texts, still encoded.
    pub(in crate::verify) fn shown(&self, received: &Received) -> Vec<String> {
        let Ok(lines) = self.lines(received, &received.body) else { return Vec::new() };
        let Some(signatures) = self.read(&lines) else { return Vec::new() };
        let text = |(bytes, _): &(&[u8], Option<&str>)| String::from_utf8_lossy(bytes).into_owned();
        signatures.encoded.iter().map(text).collect()
    }

    /// The signature that `key` makes over the request, encoded. It is compared with and forgotten:
    /// nobody outside of this room may learn it.
    pub(in crate::verify) fn expected(&self, received: &Received, key: &Key) -> Option<String> {
        let secret = key.secret.expose().as_bytes();
        let bytes = self.with_content(received, secret, |content| key.material.sign(content).ok());
        Some(self.encodings.first()?.encode(&bytes??))
    }

    /// The SHA-256 of what the signature of an accepted request covers, the time included; without
    /// the secret, where that stands in it: the same again is known in another wrapping. `None` when
    /// it is the body as it is, or when each part of a batch is signed by itself.
    pub(in crate::verify) fn covered(&self, received: &Received) -> Option<[u8; 32]> {
        if self.content.is_bare_body() {
            return None;
        }
        self.with_content(received, &[], |content| {
            let mut hash = Sha256::new();
            content.iter().for_each(|piece| hash.update(piece));
            hash.finalize().into()
        })
    }

    /// What is signed, if it can be read and is one thing.
    fn with_content<T>(
        &self,
        received: &Received,
        secret: &[u8],
        make: impl FnOnce(&Content<'_>) -> T,
    ) -> Option<T> {
        if self.each.is_some() {
            return None;
        }
        let part = &received.body;
        let lines = self.lines(received, part).ok()?;
        let signatures = self.read(&lines)?;
        let ts = self.timestamp(received, part, signatures.ts).ok()?;
        let id = self.id(received, part).ok()?;
        let context = Context {
            part,
            ts: ts.as_deref(),
            id: id.as_deref(),
            secret,
            beside: &signatures.beside,
            time_header: self.time_header(),
        };
        self.content.resolve(received, &context).ok().map(|content| make(&content))
    }

    fn read<'a>(&self, lines: &'a [Cow<'a, [u8]>]) -> Option<Signatures<'a>> {
        let mut signatures = Signatures::default();
        for line in lines {
            self.grammar.read(line, &mut signatures).ok()?;
        }
        Some(signatures)
    }
}
