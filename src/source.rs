//! A configured origin: what its requests must prove, and what is read from them.
//!
//! [`SourceSettings`] say it, [`Source::compile`] checks them and makes them quick, and
//! [`Source::admit`] is the one door from a [`Received`] to a [`Verified`].

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::Name;
use ipnet::IpNet;

use crate::received::Received;
use crate::secret::Secret;
use crate::verify::field::Field;
use crate::verify::scheme::Scheme;
use crate::verify::{Code, KeyWanted, Proof, Rejection, Verified};

pub mod catalog;
pub mod preset;
pub mod spec;

pub mod diagnose;
pub mod examine;
pub mod facts;
pub mod handshake;
pub mod identity;
pub mod policy;
pub mod reply;
mod settings;
pub mod sources;

#[doc(hidden)]
pub mod hostile;

mod capture;
mod compile;
mod sign;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use examine::Examined;
pub use facts::{Batch, Beside, Facts, Signing};
pub use handshake::{Answer, Deed};
pub use policy::{OnIdConflict, OnReplay};
pub use preset::Preset;
pub use reply::{OkReply, Reply};
pub use settings::{MAX_BODY, Respond, SourceSettings};
pub use sources::Sources;

use identity::Reading;

/// A configured origin, checked and ready. Built by [`Source::compile`]; shared behind an `Arc`.
#[derive(Debug)]
pub struct Source {
    name: Name,
    provider: Option<String>,
    path: String,
    max_body: usize,
    rate_limit: Option<u32>,
    respond: Option<Respond>,
    on_id_conflict: OnIdConflict,
    on_replay: Option<OnReplay>,
    allow_ips: Vec<IpNet>,
    methods: Vec<String>,
    content_types: Vec<String>,
    public_url: Option<String>,
    scheme: Scheme,
    capture: Option<capture::Capture>,
    reader: identity::Reader,
    handshakes: Vec<handshake::Handshake>,
    reply: Reply,
    retries: spec::RetriesSpec,
    /// For diagnosis: other readings of a refused request are tried with them.
    clues: diagnose::Clues,
}

/// What an accepted request is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events: a box would cost them more")]
pub enum Admitted {
    /// An event, to be recorded.
    Event(Verified),
    /// The events of a source whose requests are split, to be recorded together: at least one.
    Events(Vec<Verified>),
    /// A batch without any event, to be acked: there is nothing to record.
    Empty,
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
            Ok(Judged::Read(proof, reading)) => {
                let mut received = received;
                // The token did its work: kept with each event, it would lie in the database, in its
                // dumps, and before everybody who may look at an event.
                self.conceal(&mut received);
                Ok(self.admitted(proof, reading, received))
            }
            Ok(Judged::Handshake(answer)) => Ok(Admitted::Handshake(answer)),
            Err(rejection) => Err(Box::new(Refused { rejection, received })),
        }
    }

    fn admitted(&self, proof: Proof, reading: Reading, received: Received) -> Admitted {
        match reading {
            Reading::One(identity) => {
                Admitted::Event(Verified::new(proof, self.name.clone(), identity, received))
            }
            Reading::Many(events) => {
                let verified = |(identity, body)| {
                    let received = received.with_body(body);
                    let proof = proof.of_same_request();
                    Verified::new(proof, self.name.clone(), identity, received)
                };
                Admitted::Events(events.into_iter().map(verified).collect())
            }
            Reading::Empty => Admitted::Empty,
        }
    }

    /// The public key that has to be fetched before this request can be judged, or should be soon.
    /// Always `None` for a source with secrets. Cheap, and never goes to the network.
    #[must_use]
    pub fn key_wanted(&self, received: &Received, now: DateTime<Utc>) -> Option<KeyWanted> {
        if self.scheme.fetched().is_empty() { None } else { self.scheme.wanted(received, now) }
    }

    /// Overwrites what in the head of a request would let its holder send another body under its id.
    ///
    /// Also for a refused request whose body was not read: with its token it would pass when it is
    /// readmitted, as an event without its body, and the genuine one would be taken for a copy.
    pub fn conceal(&self, received: &mut Received) {
        self.scheme.conceal(received);
        // What was to become our secret may be the provider's for another address of ours.
        for field in self.handshakes.iter().filter_map(|handshake| handshake.captures()) {
            field.conceal(received);
        }
    }

    fn judge(&self, received: &Received, now: DateTime<Utc>) -> Result<Judged, Rejection> {
        let proof = match handshake::meet(self, received, now)? {
            handshake::Met::Handshake(answer) => return Ok(Judged::Handshake(answer)),
            handshake::Met::Event(proof) => proof,
        };
        let reading = self.reader.read(received, &proof)?;
        Ok(Judged::Read(proof, reading))
    }

    /// Asks the scheme, with the secrets of this moment.
    fn verify(&self, received: &Received, now: DateTime<Utc>) -> Result<Proof, Rejection> {
        // Our own check as well as the listener's: a readmitted request comes in here only.
        let content_type = received.headers.all("content-type").next();
        let media_type = content_type.and_then(|value| std::str::from_utf8(value).ok());
        if !self.allows_content_type(media_type) {
            let wanted = self.content_types.join(", ");
            let detail = format!("this source takes only {wanted}");
            return Err(Rejection::new(Code::ContentType, detail));
        }
        let learnt = self.capture.as_ref().map(capture::Capture::learnt);
        let scheme = learnt.as_ref().and_then(|learnt| learnt.scheme()).unwrap_or(&self.scheme);
        if self.reader.asks_what_is_covered {
            return scheme.verify_covering(received, now);
        }
        scheme.verify(received, now)
    }

    /// Verifies with the config's secrets and these from now on, in place of those that were captured
    /// before; tells whether that is news. Fails, without a change, when one of them can't be a
    /// secret of this source.
    pub fn learn(&self, captured: &[Secret]) -> Result<bool, String> {
        self.capture.as_ref().map_or(Ok(false), |capture| capture.learn(captured))
    }

    /// Whether a handshake may hand it a secret.
    #[must_use]
    pub fn captures(&self) -> bool {
        self.capture.is_some()
    }

    /// Whether it waits for a handshake that hands it its secret: until then it accepts no event.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.capture.as_ref().is_some_and(capture::Capture::is_pending)
    }

    /// Whether secrets of the config are among those that it verifies with.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.capture.as_ref().is_none_or(|capture| !capture.secrets.is_empty())
    }

    /// Whether a secret that a handshake brings could be one of this source; if not, why.
    pub fn check_captured(&self, secret: &Secret) -> Result<(), String> {
        self.capture.as_ref().map_or(Ok(()), |capture| capture.check(secret))
    }

    /// Whether `shown` is a secret that was captured.
    fn has_captured(&self, shown: &[u8]) -> bool {
        self.capture.as_ref().is_some_and(|capture| capture.learnt().holds(shown))
    }

    /// The registered public URL, when there is one.
    #[must_use]
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    /// Paths outside of its own at which a handshake of it stands.
    pub fn extra_paths(&self) -> impl Iterator<Item = &str> {
        self.handshakes.iter().filter_map(|handshake| handshake.path())
    }

    /// Whether a request, of which only the head is there, may turn out to be a handshake.
    #[must_use]
    pub fn may_shake(&self, head: &Received) -> bool {
        let path = handshake::path_of(head);
        let mut standing = self.handshakes.iter().filter(|it| it.stands_at(self, path));
        standing.any(|handshake| handshake.may_match(head))
    }

    /// Where a request that is accepted as of `now` shows its signature or token.
    pub(crate) fn shown(&self, received: &Received, now: DateTime<Utc>) -> Vec<Field> {
        self.scheme.shown(received, now)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Sources with one group share ids; its own name, when it shares none.
    #[must_use]
    pub fn dedupe_group(&self) -> Arc<str> {
        Arc::clone(&self.reader.group)
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

    /// Whose answer is the reply, if it comes in time.
    #[must_use]
    pub fn respond(&self) -> Option<&Respond> {
        self.respond.as_ref()
    }

    /// What to do when an id comes again with another body.
    #[must_use]
    pub fn on_id_conflict(&self) -> OnIdConflict {
        self.on_id_conflict
    }

    /// What to do when signed bytes come again under another id; `None` when nothing needs to be done,
    /// because its ids are signed, or a signed time, or nothing.
    #[must_use]
    pub fn on_replay(&self) -> Option<OnReplay> {
        self.on_replay
    }

    /// Whether one request can be several events.
    #[must_use]
    pub fn splits(&self) -> bool {
        self.reader.split.is_some()
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

    /// The methods that it takes at this path: those of its events at its own, and those of a
    /// handshake at the handshake's.
    #[must_use]
    pub fn methods(&self, path: &str) -> Vec<&str> {
        if self.is_own(path) {
            return self.methods.iter().map(String::as_str).collect();
        }
        self.standing_methods(path).collect()
    }

    /// Whether it takes this method, in upper case, at this path.
    #[must_use]
    pub fn takes(&self, path: &str, method: &str) -> bool {
        if self.is_own(path) {
            return self.methods.iter().any(|taken| taken == method);
        }
        self.standing_methods(path).any(|taken| taken == method)
    }

    /// Whether its events come to this path, and not only a handshake.
    fn is_own(&self, path: &str) -> bool {
        path == self.path || !self.extra_paths().any(|extra| extra == path)
    }

    fn standing_methods(&self, path: &str) -> impl Iterator<Item = &str> {
        let standing = self.handshakes.iter().filter(move |it| it.path() == Some(path));
        standing.filter_map(|handshake| handshake.method())
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
    Read(Proof, Reading),
    Handshake(Answer),
}
