//! A configured origin: what its requests must prove, and what is read from them.
//!
//! [`SourceSettings`] say it, [`Source::compile`] checks them and makes them quick, and
//! [`Source::admit`] is the one door from a [`Received`] to a [`Verified`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::Name;
use ipnet::IpNet;

use crate::received::Received;
use crate::secret::Secret;
use crate::verify::scheme::Scheme;
use crate::verify::{Code, Rejection, Verified};

pub mod catalog;
pub mod preset;
pub mod spec;

pub mod facts;
pub mod handshake;
pub mod identity;
pub mod reply;
pub mod sources;

mod compile;
mod sign;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use facts::Facts;
pub use handshake::Answer;
pub use preset::Preset;
pub use reply::{OkReply, Reply};
pub use sources::Sources;

/// Everything that a source is made of; built by the config or by an embedder.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Its name.
    pub name: Name,
    /// The preset's slug, when it has one.
    pub provider: Option<String>,
    /// Where it listens, such as `/in/stripe`.
    pub path: String,
    /// How to verify and what to read: the preset with the operator's overrides.
    pub spec: spec::SourceSpec,
    /// Any may match.
    pub secrets: Vec<Secret>,
    /// How old a signature may be; the preset's when `None`.
    pub tolerance: Option<Duration>,
    /// Bytes of a body.
    pub max_body: usize,
    /// Senders allowed; all when empty.
    pub allow_ips: Vec<IpNet>,
    /// Failed verifications allowed a second.
    pub rate_limit: Option<u32>,
    /// What to do when an id comes again with another body.
    pub on_id_conflict: OnIdConflict,
    /// JSON pointers of fields that differ between retries.
    pub conflict_ignore: Vec<String>,
    /// Sources with the same group share ids; the source's own name when `None`.
    pub dedupe_group: Option<Name>,
    /// The registered public URL of this source, for schemes that sign it.
    pub public_url: Option<String>,
    /// What `{param:X}` stands for in the spec.
    pub params: BTreeMap<String, Secret>,
}

/// What to do when an id comes again with another body.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OnIdConflict {
    /// Answer 200; keep the other body, never run it.
    #[default]
    Flag,
    /// Answer 409.
    Reject,
}

/// A configured origin, checked and ready. Built by [`Source::compile`]; shared behind an `Arc`.
#[derive(Debug)]
pub struct Source {
    name: Name,
    provider: Option<String>,
    path: String,
    max_body: usize,
    rate_limit: Option<u32>,
    on_id_conflict: OnIdConflict,
    allow_ips: Vec<IpNet>,
    methods: Vec<String>,
    content_types: Vec<String>,
    scheme: Scheme,
    reader: identity::Reader,
    handshakes: Vec<handshake::Handshake>,
    reply: Reply,
    retries: spec::RetriesSpec,
}

/// What an accepted request is.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are events: a box for each would cost more"
)]
pub enum Admitted {
    /// An event, to be recorded.
    Event(Verified),
    /// A handshake, to be answered and not recorded.
    Handshake(Answer),
}

/// A refused request, given back so that it can be kept for diagnosis.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub rejection: Rejection,
    /// The request.
    pub received: Received,
}

impl Source {
    /// Checks settings and makes a source of them. Fails with *every* fault, each beginning with the
    /// path of its key, such as `verify.signature.from: …`.
    pub fn compile(settings: SourceSettings) -> Result<Self, Vec<String>> {
        compile::compile(settings, true)
    }

    /// As [`Source::compile`], with secrets as weak as examples have them.
    #[cfg(test)]
    fn compile_weak(settings: SourceSettings) -> Result<Self, Vec<String>> {
        compile::compile(settings, false)
    }

    /// Accepts or refuses a request, judging its freshness as of `now`.
    ///
    /// Pure but for the fresh id of a source that never dedupes. Costs a pass of the MAC over the
    /// body for each secret, and one of the JSON scanner.
    pub fn admit(&self, received: Received, now: DateTime<Utc>) -> Result<Admitted, Box<Refused>> {
        match self.judge(&received, now) {
            Ok(Judged::Event(proof, identity)) => {
                let mut received = received;
                // The token did its work: kept with each event, it would lie in the database, in its
                // dumps, and before everybody who may look at an event.
                self.conceal(&mut received);
                Ok(Admitted::Event(Verified::new(proof, self.name.clone(), identity, received)))
            }
            Ok(Judged::Handshake(answer)) => Ok(Admitted::Handshake(answer)),
            Err(rejection) => Err(Box::new(Refused { rejection, received })),
        }
    }

    /// Overwrites what in the head of a request would let its holder send another body under its id.
    ///
    /// Also for a refused request whose body was not read: with its token it would pass when it is
    /// readmitted, as an event without its body, and the genuine one would be taken for a copy.
    pub fn conceal(&self, received: &mut Received) {
        self.scheme.conceal(received);
    }

    fn judge(&self, received: &Received, now: DateTime<Utc>) -> Result<Judged, Rejection> {
        // Our own check as well as the listener's: a readmitted request comes in here only.
        let content_type = received.headers.all("content-type").next();
        let media_type = content_type.and_then(|value| std::str::from_utf8(value).ok());
        if !self.allows_content_type(media_type) {
            let wanted = self.content_types.join(", ");
            let detail = format!("this source takes only {wanted}");
            return Err(Rejection::new(Code::ContentType, detail));
        }
        if let Some(answer) = self.handshake(received, false)? {
            return Ok(Judged::Handshake(answer));
        }
        let proof = self.scheme.verify(received, now)?;
        if let Some(answer) = self.handshake(received, true)? {
            return Ok(Judged::Handshake(answer));
        }
        let identity = self.reader.read(received, &proof)?;
        Ok(Judged::Event(proof, identity))
    }

    fn handshake(&self, received: &Received, signed: bool) -> Result<Option<Answer>, Rejection> {
        self.handshakes
            .iter()
            .find(|handshake| handshake.signed == signed && handshake.matches(received))
            .map(|handshake| handshake.answer(received))
            .transpose()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The preset's slug, when it has one.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes of a body.
    #[must_use]
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// Failed verifications allowed a second; no limit when `None`.
    #[must_use]
    pub fn rate_limit(&self) -> Option<u32> {
        self.rate_limit
    }

    /// What to do when an id comes again with another body.
    #[must_use]
    pub fn on_id_conflict(&self) -> OnIdConflict {
        self.on_id_conflict
    }

    /// Answers that the provider wants other than the usual ones.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// How the provider retries.
    #[must_use]
    pub fn retries(&self) -> &spec::RetriesSpec {
        &self.retries
    }

    /// The methods it takes.
    #[must_use]
    pub fn methods(&self) -> &[String] {
        &self.methods
    }

    /// Whether it takes this method, in upper case.
    #[must_use]
    pub fn allows_method(&self, method: &str) -> bool {
        self.methods.iter().any(|allowed| allowed == method)
    }

    /// Whether it takes requests of this sender. An unknown sender is refused where there is a list.
    #[must_use]
    pub fn allows(&self, peer: Option<IpAddr>) -> bool {
        // An IPv4 sender looks like an IPv6 one on a socket that serves both.
        let peer = peer.map(|peer| peer.to_canonical());
        self.allow_ips.is_empty()
            || peer.is_some_and(|peer| self.allow_ips.iter().any(|net| net.contains(&peer)))
    }

    /// Whether it takes bodies of this content type, parameters aside.
    #[must_use]
    pub fn allows_content_type(&self, content_type: Option<&str>) -> bool {
        if self.content_types.is_empty() {
            return true;
        }
        let media_type = content_type.and_then(|text| text.split(';').next()).map(str::trim);
        media_type.is_some_and(|m| self.content_types.iter().any(|a| a.eq_ignore_ascii_case(m)))
    }

    /// What its scheme proves, and where its ids are.
    #[must_use]
    pub fn facts(&self) -> Facts {
        facts::of(&self.scheme, &self.reader)
    }
}

enum Judged {
    Event(crate::verify::Proof, crate::verify::Identity),
    Handshake(Answer),
}
