//! A signature over a template of the request: by an HMAC, a plain digest, or a private key.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::Proof;
use super::digest::BodyDigest;
use super::encoding::Encoding;
use super::field::Field;
use super::freshness::Clock;
use super::json::select::Selector;
use super::key::{Algorithm, Key, Material};
use super::keyring::{Fetched, KeyWanted};
use super::precondition::Precondition;
use super::rejection::{Code, Rejection};
use super::signature::{Grammar, SIGNATURES_MAX, Signatures};
use super::template::{Content, Context, Template, malformed};
use crate::received::Received;

mod coverage;
mod look;
mod sign;

/// A signature over a template of the request.
#[derive(Debug, Clone)]
pub(crate) struct SignedScheme {
    /// How it is signed.
    pub(crate) algorithm: Algorithm,
    /// The keys of the source's secrets.
    pub(crate) keys: Vec<Key>,
    /// Where its key comes from when the source has no secrets.
    pub(crate) fetched: Option<Fetched>,
    /// Where the request names its key.
    pub(crate) by_id: Option<KeyId>,
    /// Where the signature stands.
    pub(crate) from: From,
    /// Whether its header may stand more than once.
    pub(crate) all_lines: bool,
    /// How its bytes are written: the first that fits.
    pub(crate) encodings: Vec<Encoding>,
    /// What stands around them.
    pub(crate) grammar: Grammar,
    /// What is signed.
    pub(crate) content: Template,
    /// Where the id that `{id}` names stands.
    pub(crate) id: Option<Field>,
    /// When it was signed.
    pub(crate) clock: Option<Clock>,
    /// The parts of a batch that are each signed by themselves.
    pub(crate) each: Option<Selector>,
    /// A hash of the body in what is signed.
    pub(crate) body_digest: Option<BodyDigest>,
    /// What must hold for this scheme to be the one.
    pub(crate) preconditions: Vec<Precondition>,
}

/// Where a signature stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// In one place.
    Field(Field),
    /// In every header whose name begins so.
    Headers(String),
}

/// Where a request names its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyId {
    /// In a place of its own.
    Field(Field),
    /// Beside the signature.
    Beside,
}

/// A signature's bytes, with the id of its key when that stands beside it.
type Candidate<'a> = (Vec<u8>, Option<&'a str>);

/// Whether something authentic was signed lately.
type Timely = Result<(), Rejection>;

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(field) => write!(f, "{field}"),
            Self::Headers(prefix) => write!(f, "header:{prefix}*"),
        }
    }
}

impl SignedScheme {
    /// Accepts or refuses a request.
    ///
    /// The signature comes before the freshness: who can't sign is told so, and never that only the
    /// time was wrong; and "stale" in a log then always means an authentic request.
    pub(crate) fn verify(
        &self,
        received: &Received,
        now: DateTime<Utc>,
    ) -> Result<Proof, Rejection> {
        for precondition in &self.preconditions {
            precondition.check(received)?;
        }
        let (proof, timely) = match &self.each {
            None => self.verify_part(received, &received.body, now)?,
            Some(selector) => self.verify_each(selector, received, now)?,
        };
        if let Some(digest) = &self.body_digest {
            digest.check(received, |field| field.read(received).ok().flatten())?;
        }
        timely.map(|()| proof)
    }

    /// Every part of the batch must be signed: one that isn't would ride in on the others.
    fn verify_each(
        &self,
        selector: &Selector,
        received: &Received,
        now: DateTime<Utc>,
    ) -> Result<(Proof, Timely), Rejection> {
        let selection = selector.select(&received.body).map_err(|error| {
            Rejection::new(Code::SignatureMalformed, format!("the body is not JSON: {error}"))
        })?;
        if !selection.barren.is_empty() {
            let detail =
                format!("an element has nothing at {}: it is not signed", selector.as_str());
            return Err(Rejection::new(Code::SignatureMissing, detail));
        }
        let mut proof = None;
        let mut timely = Ok(());
        for part in selection.parts {
            let (own, in_time) = self.verify_part(received, &received.body[part.span], now)?;
            proof = Some(own);
            timely = timely.and(in_time);
        }
        let proof = proof.ok_or_else(|| {
            let detail = format!("body:{} is empty: nothing in it is signed", selector.as_str());
            Rejection::new(Code::SignatureMissing, detail)
        })?;
        Ok((proof, timely))
    }

    /// The proof of a part, and whether it was signed lately: which only matters once everything else is
    /// known to be right.
    fn verify_part(
        &self,
        received: &Received,
        part: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(Proof, Timely), Rejection> {
        let lines = self.lines(received, part)?;
        let mut signatures = Signatures::default();
        for line in &lines {
            self.grammar.read(line, &mut signatures)?;
        }
        let candidates = self.decode(&signatures)?;
        let ts = self.timestamp(received, part, signatures.ts)?;
        let id = self.id(received, part)?;
        let time = match (&self.clock, &ts) {
            (Some(clock), Some(ts)) if clock.signed => Some((clock, clock.unit.parse(ts)?)),
            _ => None,
        };
        let context = Context {
            part,
            ts: ts.as_deref(),
            id: id.as_deref(),
            secret: &[],
            beside: &signatures.beside,
            time_header: self.time_header(),
        };
        let secret = self.matching_secret(received, &context, &candidates, now)?;
        let timely = time.map_or(Ok(()), |(clock, time)| clock.check(time, now));
        let id = id.map(Cow::into_owned);
        Ok((Proof::mint(secret, id), timely))
    }

    fn time_header(&self) -> Option<&str> {
        match self.clock.as_ref()?.from.as_ref()? {
            Field::Header(name) => Some(name),
            _ => None,
        }
    }

    /// The signature's lines; never none.
    fn lines<'a>(
        &self,
        received: &'a Received,
        part: &[u8],
    ) -> Result<Vec<Cow<'a, [u8]>>, Rejection> {
        let headers = |wanted: &dyn Fn(&str) -> bool| {
            received
                .headers
                .iter()
                .filter(|(name, _)| wanted(name))
                .take(SIGNATURES_MAX + 1)
                .map(|(_, line)| Cow::Borrowed(line))
                .collect()
        };
        let lines: Vec<Cow<'a, [u8]>> = match &self.from {
            From::Field(Field::Header(name)) if self.all_lines => headers(&|other| other == name),
            From::Headers(prefix) => headers(&|other| other.starts_with(prefix.as_str())),
            From::Field(field) => field
                .read_in(received, part)
                .map_err(|why| malformed(field, &why))?
                .into_iter()
                .collect(),
        };
        if lines.iter().all(|line| line.is_empty()) {
            let detail = format!("{} is missing or empty", self.from);
            return Err(Rejection::new(Code::SignatureMissing, detail));
        }
        Ok(lines)
    }

    /// The signatures' bytes with the ids of their keys. One that can't be read spoils the request: a
    /// sender who signs writes them all alike.
    fn decode<'a>(&self, signatures: &Signatures<'a>) -> Result<Vec<Candidate<'a>>, Rejection> {
        if signatures.encoded.is_empty() {
            let detail = format!("{} holds no `{}`", self.from, self.grammar.wanted());
            return Err(Rejection::new(Code::SignatureMissing, detail));
        }
        let fits = |bytes: &Vec<u8>| match self.algorithm.length() {
            Some(length) => bytes.len() == length,
            None => !bytes.is_empty(),
        };
        let decode = |(text, key): &(&[u8], Option<&'a str>)| {
            let decoded = self.encodings.iter().filter_map(|encoding| encoding.decode(text));
            Some((decoded.into_iter().find(fits)?, *key))
        };
        let decoded: Option<Vec<_>> = signatures.encoded.iter().map(decode).collect();
        decoded.ok_or_else(|| {
            let bytes = self.algorithm.length().map_or(String::new(), |n| format!("{n} bytes in "));
            let encodings: Vec<_> = self.encodings.iter().map(|e| format!("{e:?}")).collect();
            let detail = format!("{} is not {bytes}{}", self.from, encodings.join(" or "));
            Rejection::new(Code::SignatureMalformed, detail)
        })
    }

    fn timestamp<'a>(
        &self,
        received: &'a Received,
        part: &[u8],
        beside: Option<&'a [u8]>,
    ) -> Result<Option<Cow<'a, [u8]>>, Rejection> {
        let Some(clock) = &self.clock else { return Ok(beside.map(Cow::Borrowed)) };
        let (found, place) = match &clock.from {
            None => (beside.map(Cow::Borrowed), self.from.to_string()),
            Some(field) => match field.read_in(received, part) {
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

    fn id<'a>(
        &self,
        received: &'a Received,
        part: &[u8],
    ) -> Result<Option<Cow<'a, [u8]>>, Rejection> {
        let Some(field) = &self.id else { return Ok(None) };
        let found = field.read_in(received, part).map_err(|why| malformed(field, &why))?;
        match found {
            Some(id) if !id.is_empty() => Ok(Some(id)),
            _ => {
                let detail = format!("the signed id in {field} is missing or empty");
                Err(Rejection::new(Code::IdMissing, detail))
            }
        }
    }

    /// The position of the first secret that makes one of the signatures; `None` for a key that was
    /// fetched. The content is resolved once, but for one in which the secret itself stands.
    fn matching_secret(
        &self,
        received: &Received,
        context: &Context<'_>,
        candidates: &[Candidate<'_>],
        now: DateTime<Utc>,
    ) -> Result<Option<usize>, Rejection> {
        let named = self.named_key(received, context.part)?;
        if let (Some(fetched), Algorithm::Public(algorithm)) = (&self.fetched, self.algorithm) {
            let keys = fetched.keys(received, named.as_deref(), algorithm, now)?;
            let content = self.content.resolve(received, context)?;
            let all: Vec<&[u8]> = candidates.iter().map(|(bytes, _)| bytes.as_slice()).collect();
            let good = keys.into_iter().any(|key| Material::Public(key).accepts(&content, &all));
            return if good { Ok(None) } else { Err(self.mismatch()) };
        }
        let shared = match self.content.names_secret() {
            true => None,
            false => Some(self.content.resolve(received, context)?),
        };
        for key in &self.keys {
            let mine = |beside: Option<&str>| match &self.by_id {
                None => true,
                Some(KeyId::Beside) => beside.is_some() && beside == key.id.as_deref(),
                Some(KeyId::Field(_)) => named.is_some() && named == key.id,
            };
            let candidates: Vec<&[u8]> = candidates
                .iter()
                .filter(|(_, beside)| mine(*beside))
                .map(|(bytes, _)| bytes.as_slice())
                .collect();
            if candidates.is_empty() {
                continue;
            }
            let own: Content<'_>;
            let content = match &shared {
                Some(content) => content,
                None => {
                    let context = Context { secret: key.secret.expose().as_bytes(), ..*context };
                    own = self.content.resolve(received, &context)?;
                    &own
                }
            };
            if key.material.accepts(content, &candidates) {
                return Ok(Some(key.position));
            }
        }
        Err(self.mismatch())
    }

    /// The id of the key that the request names in a place of its own.
    fn named_key(&self, received: &Received, part: &[u8]) -> Result<Option<String>, Rejection> {
        let Some(KeyId::Field(field)) = &self.by_id else { return Ok(None) };
        let found = field.read_in(received, part).map_err(|why| malformed(field, &why))?;
        let text = found.map(|id| String::from_utf8_lossy(&id).into_owned());
        text.filter(|id| !id.is_empty()).map(Some).ok_or_else(|| {
            let detail = format!("the id of the key in {field} is missing or empty");
            Rejection::new(Code::SignatureMissing, detail)
        })
    }

    /// The key that a fetched source needs for this request, when there is a signature that could be
    /// good.
    pub(crate) fn wanted(&self, received: &Received, now: DateTime<Utc>) -> Option<KeyWanted> {
        let (Some(fetched), Algorithm::Public(algorithm)) = (&self.fetched, self.algorithm) else {
            return None;
        };
        if self.preconditions.iter().any(|it| it.check(received).is_err()) {
            return None;
        }
        let lines = self.lines(received, &received.body).ok()?;
        let mut signatures = Signatures::default();
        for line in &lines {
            self.grammar.read(line, &mut signatures).ok()?;
        }
        self.decode(&signatures).ok()?;
        let named = self.named_key(received, &received.body).ok()?;
        fetched.wanted(received, named.as_deref(), algorithm, now)
    }

    fn mismatch(&self) -> Rejection {
        let whose = if self.fetched.is_some() {
            "the provider's key doesn't verify"
        } else {
            "no secret of this source makes"
        };
        let detail = format!(
            "{whose} the signature in {}: is it the right secret, and did a proxy change the body?",
            self.from
        );
        Rejection::new(Code::SignatureMismatch, detail)
    }
}
