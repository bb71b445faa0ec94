//! What the public listener knows: everything that one request needs, built once, outside of the
//! listener's workers.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use entity::Name;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

use super::ServerSettings;
use super::budget::Budget;
use super::gateway::Gateways;
use super::readiness::{ClockSkew, Readiness};
use crate::fetch::Fetcher;
use crate::handler::answers::Answers;
use crate::intake::{Captures, Recorder, RejectionKeeper};
use crate::keys::Keys;
use crate::metric::Metrics;
use crate::source::Sources;
use crate::store::Store;
use crate::verify::Roots;

/// Lines in the log about refused requests, a second and source: the first few tell the story, and
/// an attacker must not be able to fill the disk. The metrics count them all.
const REFUSALS_LOGGED: NonZeroU32 = NonZeroU32::MIN;

/// Calls a minute that the handshakes of one source may make us do: who owns an account with the
/// provider can have it ask for more.
const CALLS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// What the public listener is made of.
#[derive(Debug)]
pub struct PublicParts {
    /// The sources, by path.
    pub sources: Arc<Sources>,
    /// Makes verified events durable.
    pub recorder: Recorder,
    /// Keeps refused requests.
    pub keeper: RejectionKeeper,
    /// Keeps the secrets that handshakes bring.
    pub captures: Arc<Captures>,
    /// Calls what a handshake asks us to call, and fetches keys.
    pub fetcher: Fetcher,
    /// What handlers answered before.
    pub store: Store,
    /// Who waits for the answers of handlers.
    pub answers: Answers,
    /// Where to count.
    pub metrics: Metrics,
    /// The database's clock against ours, kept up to date by a chore.
    pub skew: ClockSkew,
    /// What is served beside the sources.
    pub gateways: Gateways,
    /// What the probes say.
    pub readiness: Readiness,
}

/// What every worker of the public listener shares.
pub(super) struct PublicState {
    pub(super) sources: Arc<Sources>,
    pub(super) recorder: Recorder,
    pub(super) keeper: RejectionKeeper,
    pub(super) captures: Arc<Captures>,
    pub(super) fetcher: Fetcher,
    pub(super) keys: Keys,
    pub(super) store: Store,
    pub(super) answers: Answers,
    pub(super) metrics: Metrics,
    pub(super) skew: ClockSkew,
    pub(super) budget: Budget,
    pub(super) gateways: Gateways,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) body_timeout: Duration,
    limits: HashMap<Name, Limits>,
}

/// The limiters of one source.
struct Limits {
    /// Failing requests; `None` when the source has no limit.
    failures: Option<DefaultDirectRateLimiter>,
    /// Lines in the log about them.
    log: DefaultDirectRateLimiter,
    /// Calls that its handshakes ask for.
    calls: DefaultDirectRateLimiter,
}

impl PublicState {
    pub(super) fn new(settings: &ServerSettings, parts: PublicParts) -> Self {
        let limits = parts
            .sources
            .iter()
            .map(|source| {
                let failures = source
                    .rate_limit()
                    .and_then(NonZeroU32::new)
                    .map(|limit| RateLimiter::direct(Quota::per_second(limit)));
                let log = RateLimiter::direct(Quota::per_second(REFUSALS_LOGGED));
                let calls = RateLimiter::direct(Quota::per_minute(CALLS));
                (source.name().clone(), Limits { failures, log, calls })
            })
            .collect();
        Self {
            budget: Budget::new(settings.max_inflight, parts.metrics.clone()),
            sources: parts.sources,
            recorder: parts.recorder,
            keeper: parts.keeper,
            captures: parts.captures,
            keys: Keys::new(parts.fetcher.clone(), Roots::mozilla(), parts.metrics.clone()),
            fetcher: parts.fetcher,
            store: parts.store,
            answers: parts.answers,
            metrics: parts.metrics,
            skew: parts.skew,
            gateways: parts.gateways,
            trusted_proxies: settings.trusted_proxies.clone(),
            body_timeout: settings.body_timeout,
            limits,
        }
    }

    /// Counts a failing request of a source; false when it is over the source's limit. Good requests
    /// never come here, so they never use the limit up.
    pub(super) fn may_fail(&self, source: &Name) -> bool {
        self.limits
            .get(source)
            .and_then(|limits| limits.failures.as_ref())
            .is_none_or(|limiter| limiter.check().is_ok())
    }

    /// Whether a handshake of this source may make us call somebody now.
    pub(super) fn may_call(&self, source: &Name) -> bool {
        self.limits.get(source).is_some_and(|limits| limits.calls.check().is_ok())
    }

    /// Whether one more refusal of this source goes to the log now.
    pub(super) fn may_log(&self, source: &Name) -> bool {
        self.limits.get(source).is_some_and(|limits| limits.log.check().is_ok())
    }
}
