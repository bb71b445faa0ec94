//! A MAC over a template of the request.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::Proof;
use super::encoding::Encoding;
use super::field::Field;
use super::freshness::Clock;
use super::mac::{Hash, Mac};
use super::rejection::{Code, Rejection};
use super::signature::{Grammar, SIGNATURES_MAX, Signatures};
use super::template::{Template, malformed};
use crate::received::Received;

/// A MAC over a template of the request.
#[derive(Debug, Clone)]
pub(crate) struct HmacScheme {
    /// The MAC's hash.
    pub(crate) hash: Hash,
    /// Each key with the position of its secret among the source's.
    pub(crate) keys: Vec<(usize, Mac)>,
    /// Where the signature stands.
    pub(crate) from: Field,
    /// Whether its header may stand more than once.
    pub(crate) all_lines: bool,
    /// How its bytes are written.
    pub(crate) encoding: Encoding,
    /// What stands around them.
    pub(crate) grammar: Grammar,
    /// What is signed.
    pub(crate) content: Template,
    /// Where the id that `{id}` names stands.
    pub(crate) id: Option<Field>,
    /// When it was signed.
    pub(crate) clock: Option<Clock>,
}

impl HmacScheme {
    /// Accepts or refuses a request.
    ///
    /// The MAC comes before the freshness: who can't sign is told so, and never that only the time
    /// was wrong; and "stale" in a log then always means an authentic request.
    pub(crate) fn verify(
        &self,
        received: &Received,
        now: DateTime<Utc>,
    ) -> Result<Proof, Rejection> {
        let lines = self.lines(received)?;
        let mut signatures = Signatures::default();
        for line in &lines {
            self.grammar.read(line, &mut signatures)?;
        }
        let candidates = self.decode(&signatures)?;
        let ts = self.timestamp(received, signatures.ts)?;
        let id = self.id(received)?;
        let time = match (&self.clock, &ts) {
            (Some(clock), Some(ts)) if clock.signed => Some((clock, clock.unit.parse(ts)?)),
            _ => None,
        };
        let content = self.content.resolve(received, ts.as_deref(), id.as_deref())?;
        let secret = self.matching_secret(&content, &candidates)?;
        if let Some((clock, time)) = time {
            clock.check(time, now)?;
        }
        Ok(Proof::mint(Some(secret), id.map(Cow::into_owned)))
    }

    /// The signature's lines; never none.
    fn lines<'a>(&self, received: &'a Received) -> Result<Vec<Cow<'a, [u8]>>, Rejection> {
        let lines: Vec<Cow<'a, [u8]>> = match &self.from {
            Field::Header(name) if self.all_lines => received
                .headers
                .iter()
                .filter(|(other, _)| other == name)
                .take(SIGNATURES_MAX + 1)
                .map(|(_, line)| Cow::Borrowed(line))
                .collect(),
            field => {
                field.read(received).map_err(|why| malformed(field, &why))?.into_iter().collect()
            }
        };
        if lines.iter().all(|line| line.is_empty()) {
            let detail = format!("{} is missing or empty", self.from);
            return Err(Rejection::new(Code::SignatureMissing, detail));
        }
        Ok(lines)
    }

    /// The signatures' bytes, each as long as the MAC. One that can't be read spoils the request: a
    /// sender who signs writes them all alike.
    fn decode(&self, signatures: &Signatures<'_>) -> Result<Vec<Vec<u8>>, Rejection> {
        if signatures.encoded.is_empty() {
            let detail = format!("{} holds no `{}`", self.from, self.grammar.wanted());
            return Err(Rejection::new(Code::SignatureMissing, detail));
        }
        let decode = |text: &&[u8]| {
            let bytes = self.encoding.decode(text)?;
            (bytes.len() == self.hash.length()).then_some(bytes)
        };
        let decoded: Option<Vec<_>> = signatures.encoded.iter().map(decode).collect();
        decoded.ok_or_else(|| {
            let detail =
                format!("{} is not {} bytes in {:?}", self.from, self.hash.length(), self.encoding);
            Rejection::new(Code::SignatureMalformed, detail)
        })
    }

    fn timestamp<'a>(
        &self,
        received: &'a Received,
        beside: Option<&'a [u8]>,
    ) -> Result<Option<Cow<'a, [u8]>>, Rejection> {
        let Some(clock) = &self.clock else { return Ok(beside.map(Cow::Borrowed)) };
        let (found, place) = match &clock.from {
            None => (beside.map(Cow::Borrowed), self.from.to_string()),
            Some(field) => match field.read(received) {
                Ok(found) => (found, field.to_string()),
                // An unsigned time isn't judged, so it can't spoil a request either.
                Err(_) if !clock.signed => (None, field.to_string()),
                Err(why) => return Err(malformed(field, &why)),
            },
        };
        let found = found.filter(|text| !text.is_empty());
        if found.is_none() && clock.signed {
            let detail = format!("the timestamp in {place} is missing or empty");
            return Err(Rejection::new(Code::TimestampMissing, detail));
        }
        Ok(found)
    }

    fn id<'a>(&self, received: &'a Received) -> Result<Option<Cow<'a, [u8]>>, Rejection> {
        let Some(field) = &self.id else { return Ok(None) };
        let found = field.read(received).map_err(|why| malformed(field, &why))?;
        match found {
            Some(id) if !id.is_empty() => Ok(Some(id)),
            _ => {
                let detail = format!("the signed id in {field} is missing or empty");
                Err(Rejection::new(Code::IdMissing, detail))
            }
        }
    }

    /// The position of the first secret that makes one of the signatures. Each comparison takes
    /// constant time; how many there are depends only on how many keys and signatures there are.
    fn matching_secret(
        &self,
        content: &[Cow<'_, [u8]>],
        candidates: &[Vec<u8>],
    ) -> Result<usize, Rejection> {
        for (position, key) in &self.keys {
            let mut mac = key.clone();
            for part in content {
                mac.update(part);
            }
            if candidates.iter().any(|candidate| mac.clone().verifies(candidate)) {
                return Ok(*position);
            }
        }
        let detail = format!(
            "no secret of this source makes the signature in {}: is it the right secret, and did a proxy change the body?",
            self.from
        );
        Err(Rejection::new(Code::SignatureMismatch, detail))
    }

    /// Adds timestamp, id and signature as the provider would. Values that are there already and
    /// that only the caller can know (an id, other signed headers) are kept.
    pub(crate) fn sign(
        &self,
        received: &mut Received,
        now: DateTime<Utc>,
        secret: usize,
        fresh_id: &str,
    ) -> Result<(), String> {
        let Some((_, key)) = self.keys.iter().find(|(position, _)| *position == secret) else {
            return Err(format!("this source has no secret number {secret} for its signature"));
        };
        if let Some(field) = &self.id
            && !field.read(received).is_ok_and(|id| id.is_some_and(|id| !id.is_empty()))
        {
            field.put(received, fresh_id)?;
        }
        let ts = self.put_timestamp(received, now)?;
        let id = self.id(received).map_err(|rejection| rejection.detail)?.map(Cow::into_owned);
        let content = self
            .content
            .resolve(received, ts.as_deref().map(str::as_bytes), id.as_deref())
            .map_err(|rejection| rejection.detail)?;
        let mut mac = key.clone();
        for part in &content {
            mac.update(part);
        }
        let encoded = self.encoding.encode(&mac.finish());
        self.from.put(received, &self.grammar.write(&encoded, ts.as_deref()))
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
            // A time inside of a JSON body is the body's: changing it is up to who made the body.
            Some(field @ (Field::Body(_) | Field::FormJson(..))) => match field.read(received) {
                Ok(Some(found)) => Ok(Some(String::from_utf8_lossy(&found).into_owned())),
                Ok(None) => Err(format!("{field}, the signed time, is missing from the body")),
                Err(why) => Err(format!("{field} can't be read: {why}")),
            },
            Some(field) => field.put(received, &text).map(|()| Some(text)),
        }
    }
}
