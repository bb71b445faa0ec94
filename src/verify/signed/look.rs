//! What a request that was refused holds, as far as it can be read: for diagnosis, in this room only.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::SignedScheme;
use crate::received::Received;
use crate::verify::key::Key;
use crate::verify::signature::Signatures;
use crate::verify::template::Context;

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
            secret: key.secret.expose().as_bytes(),
            beside: &signatures.beside,
            time_header: self.time_header(),
        };
        let content = self.content.resolve(received, &context).ok()?;
        let bytes = key.material.sign(&content).ok()?;
        Some(self.encodings.first()?.encode(&bytes))
    }

    pub(super) fn read<'a>(&self, lines: &'a [Cow<'a, [u8]>]) -> Option<Signatures<'a>> {
        let mut signatures = Signatures::default();
        for line in lines {
            self.grammar.read(line, &mut signatures).ok()?;
        }
        Some(signatures)
    }
}
