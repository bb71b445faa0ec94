//! Why a source refuses a request: its own scheme by trying, and whether another provider's fits.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::capture::Capture;
use super::compile::scheme_with;
use super::preset::Preset;
use super::spec::SchemeSpec;
use super::{Source, Sources, catalog, handshake};
use crate::received::Received;
use crate::secret::Secret;
use crate::verify::diagnose::{Budget, Surroundings, diagnose};
use crate::verify::scheme::Scheme;
use crate::verify::{Cause, Code, Diagnosis, Effort, Step};

/// Other sources that are asked whether a request is theirs.
const SOURCES_MAX: usize = 64;

/// What other readings of a request are tried with.
#[derive(Debug)]
pub(super) struct Clues {
    /// The source's.
    pub(super) secrets: Vec<Secret>,
    /// The source's.
    pub(super) params: BTreeMap<String, Secret>,
}

/// Other providers' schemes that are tried.
const PROVIDERS_MAX: usize = 12;

/// Headers that say nothing about who sends.
const COMMON: [&str; 4] = ["authorization", "signature", "x-signature", "x-webhook-signature"];

impl Sources {
    /// As [`Source::diagnose`] of `source`; and where nothing makes the request fit, whether it is one to
    /// another of these: sent to the wrong path, or signed with the secret of another environment.
    #[must_use]
    pub fn diagnose(
        &self,
        source: &Source,
        received: &Received,
        now: DateTime<Utc>,
        effort: Effort,
    ) -> Option<Diagnosis> {
        let budget = Budget::new(effort);
        let diagnosis = source.diagnose_within(received, now, &budget)?;
        let unfit = matches!(diagnosis.step(), Step::Signature | Step::Content | Step::Match);
        if diagnosis.proven || !unfit {
            return Some(diagnosis);
        }
        budget.open_a_last_part();
        let others = self.iter().filter(|other| other.name() != source.name());
        let theirs = others
            .take(SOURCES_MAX)
            .find(|other| proves_within(&budget, &other.scheme, received, now));
        Some(theirs.map_or(diagnosis, |theirs| of_another(theirs)))
    }
}

impl Source {
    /// Why it refuses `received` as of `now`; `None` when it doesn't.
    ///
    /// Pure, bounded by `effort`, and for the operator only: a sender must not be told, because
    /// each refusal would teach a forger something. It blocks its thread meanwhile.
    #[must_use]
    pub fn diagnose(
        &self,
        received: &Received,
        now: DateTime<Utc>,
        effort: Effort,
    ) -> Option<Diagnosis> {
        self.diagnose_within(received, now, &Budget::new(effort))
    }

    fn diagnose_within(
        &self,
        received: &Received,
        now: DateTime<Utc>,
        budget: &Budget,
    ) -> Option<Diagnosis> {
        if let Some(diagnosis) = self.refused_before(received) {
            return Some(diagnosis);
        }
        let refused = self.admit(received.clone(), now).err()?;
        let rejection = refused.rejection;
        let said = |cause: Cause| Some(Diagnosis::new(cause, rejection.detail.clone()));
        match rejection.code {
            Code::HandshakeRefused | Code::HandshakeClosed => return said(Cause::Handshake),
            Code::MethodNotAllowed => {
                let wanted = self.methods(self.path()).join(", ");
                let sentence = format!("this source takes only {wanted}: is it the right path?");
                return Some(Diagnosis::new(Cause::MethodRefused, sentence));
            }
            Code::ContentType | Code::UnknownSource => return said(Cause::of(rejection.code)),
            _ if self.is_pending() => {
                let sentence = "this source has no secret yet: it waits for the handshake that hands it one, so register its URL with the provider";
                return Some(Diagnosis::new(Cause::SecretPending, sentence));
            }
            _ => {}
        }
        let around = Surroundings { url: self.public_url(), now, budget };
        if let Some(diagnosis) = self.test_out_of_time(received, &around) {
            return Some(diagnosis);
        }
        let learnt = self.capture.as_ref().map(Capture::learnt);
        let scheme = learnt.as_ref().and_then(|learnt| learnt.scheme()).unwrap_or(&self.scheme);
        match diagnose(scheme, received, &around) {
            None => Some(match rejection.code {
                Code::IdMissing => Diagnosis::new(
                    Cause::EventIdMissing,
                    format!("authentic, but {}: see `event.id`", rejection.detail),
                ),
                Code::BodyMalformed => Diagnosis::new(
                    Cause::BodyMalformed,
                    format!("authentic, but {}: see `event.format`", rejection.detail),
                ),
                code => Diagnosis::new(Cause::of(code), rejection.detail),
            }),
            Some(diagnosis) if diagnosis.proven => Some(diagnosis),
            Some(diagnosis) => {
                budget.open_a_last_part();
                let other = self.other_provider(received, now, &diagnosis, budget);
                Some(other.unwrap_or(diagnosis))
            }
        }
    }

    /// The provider's own test, by the secret that it publishes, which would be answered were it fresh.
    fn test_out_of_time(
        &self,
        received: &Received,
        around: &Surroundings<'_>,
    ) -> Option<Diagnosis> {
        let scheme = handshake::test_scheme(self, received)?;
        let refused = scheme.verify(received, around.now).err();
        let refused = refused.filter(|rejection| rejection.code.is_of_time())?;
        let found = diagnose(scheme, received, around)?;
        let sentence = format!(
            "the provider's test, by the secret that it publishes, but not lately: {}; judge a captured one as of its own time",
            refused.detail
        );
        Some(Diagnosis { sentence, ..found })
    }

    /// What is refused before a byte of the body is looked at.
    fn refused_before(&self, received: &Received) -> Option<Diagnosis> {
        // Without an address (in a file) there is nothing to judge.
        if received.peer.is_some() && !self.allows(received.peer) {
            let sentence =
                "the sender's address is not in `allow_ips`: behind a proxy, see `trusted_proxies`";
            return Some(Diagnosis::new(Cause::SenderRefused, sentence));
        }
        None
    }

    /// Another provider, by whose scheme it fits or whose header it has.
    fn other_provider(
        &self,
        received: &Received,
        now: DateTime<Utc>,
        own: &Diagnosis,
        budget: &Budget,
    ) -> Option<Diagnosis> {
        let is_there = |name: &str| received.headers.all(name).next().is_some();
        let mine = self.scheme.headers();
        let (mut fitting, mut named) = (Vec::new(), Vec::new());
        let mut tried = 0;
        for preset in catalog::all().filter(|p| Some(p.slug) != self.provider.as_deref()) {
            let Some(spec) = &preset.source.verify else { continue };
            let headers = headers(spec);
            if headers.is_empty() || !headers.iter().any(|name| is_there(name)) {
                continue;
            }
            tried += 1;
            if tried > PROVIDERS_MAX {
                break;
            }
            if self.fits(spec, received, now, budget) {
                fitting.push(preset);
            }
            let telling = headers.iter().find(|name| {
                is_there(name) && !COMMON.contains(&name.as_str()) && !mine.contains(*name)
            });
            named.extend(telling.map(|header| (preset, header.clone())));
        }
        if !fitting.is_empty() {
            return Some(fits_by(&fitting));
        }
        let (_, header) = named.first().filter(|_| own.cause == Cause::SignatureMissing)?;
        let presets: Vec<&Preset> = named.iter().map(|(preset, _)| *preset).collect();
        Some(looks_like(&presets, header))
    }

    fn fits(
        &self,
        spec: &SchemeSpec,
        received: &Received,
        now: DateTime<Utc>,
        budget: &Budget,
    ) -> bool {
        scheme_with(spec, &self.clues, self.public_url.as_deref())
            .is_some_and(|scheme| proves_within(budget, &scheme, received, now))
    }
}

/// As [`proves`], where the budget still allows to ask.
fn proves_within(
    budget: &Budget,
    scheme: &Scheme,
    received: &Received,
    now: DateTime<Utc>,
) -> bool {
    budget.affords(scheme, received) && proves(scheme, received, now)
}

/// Whether a request proves itself by this scheme, be it old or not: every scheme judges a time last, when
/// all else is right.
fn proves(scheme: &Scheme, received: &Received, now: DateTime<Utc>) -> bool {
    match scheme.verify(received, now) {
        Ok(_) => !scheme.is_unsigned(),
        Err(rejection) => rejection.code.is_of_time(),
    }
}

fn of_another(source: &Source) -> Diagnosis {
    let sentence = format!(
        "it fits as a request to source `{0}`, by that one's secret: is it sent to the wrong path ({1} is the right one), or does this endpoint sign with the secret of another environment?",
        source.name(),
        source.path()
    );
    Diagnosis { proven: true, ..Diagnosis::new(Cause::OtherSource, sentence) }
}

/// Their names, as far as a sentence can hold them: several providers sign alike.
fn names(presets: &[&Preset]) -> String {
    presets.iter().take(6).map(|preset| preset.name.as_str()).collect::<Vec<_>>().join(" or ")
}

fn fits_by(presets: &[&Preset]) -> Diagnosis {
    let slugs: Vec<String> =
        presets.iter().take(6).map(|preset| format!("\"{}\"", preset.slug)).collect();
    let sentence = format!(
        "it fits as a request of {}, by the secret of this source: set provider = {}",
        names(presets),
        slugs.join(" or ")
    );
    Diagnosis { proven: true, ..Diagnosis::new(Cause::OtherProvider, sentence) }
}

fn looks_like(presets: &[&Preset], header: &str) -> Diagnosis {
    let sentence = format!(
        "this looks like a request of {}, which signs in header:{header}: is it sent to the right path, and does this source have the right preset?",
        names(presets)
    );
    Diagnosis::new(Cause::OtherProvider, sentence)
}

/// The headers in which a scheme looks for proof.
fn headers(spec: &SchemeSpec) -> BTreeSet<String> {
    let own = spec.signature.iter().map(|signature| signature.from.as_str());
    let token = spec.token.iter().map(|token| token.from.as_str());
    let header = |place: &str| place.strip_prefix("header:").map(str::to_ascii_lowercase);
    let mut found: BTreeSet<String> = own.chain(token).filter_map(header).collect();
    let members = spec.any.iter().chain(&spec.all).flatten();
    found.extend(members.flat_map(headers));
    found
}

#[cfg(test)]
mod tests;
