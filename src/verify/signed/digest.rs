//! A digest of what was signed, to know the same again in another wrapping.

use sha2::{Digest, Sha256};

use super::SignedScheme;
use crate::received::Received;
use crate::verify::template::Context;

impl SignedScheme {
    /// The SHA-256 of what the signature of an accepted request covers, the time included; without
    /// the secret, where that stands in it. `None` when it is the body as it is, or when each part of
    /// a batch is signed by itself.
    pub(in crate::verify) fn covered(&self, received: &Received) -> Option<[u8; 32]> {
        if self.each.is_some() || self.content.is_bare_body() {
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
            secret: &[],
            beside: &signatures.beside,
            time_header: self.time_header(),
        };
        let content = self.content.resolve(received, &context).ok()?;
        let mut hash = Sha256::new();
        content.iter().for_each(|piece| hash.update(piece));
        Some(hash.finalize().into())
    }
}
