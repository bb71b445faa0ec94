//! Gets the public keys that providers, and issuers of tokens, publish, when a request needs one that
//! isn't here.
//!
//! One fetch serves all requests that wait for it, and goes on when they stop waiting: each waits for
//! at most [`WAIT`], and is then answered so that it comes again. Requests that find their key here
//! never wait, neither those of other sources nor those of the same one: a key that grows old is
//! fetched again behind their backs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::Name;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::field::{DisplayValue, display};
use tracing::{info, warn};

use crate::fetch::{Answer, FetchError, Fetcher};
use crate::metric::Metrics;
use crate::received::Received;
use crate::source::Source;
use crate::verify::{KeyWanted, Roots};

/// How long a request waits for its key. Some senders give up after 3 s.
pub const WAIT: Duration = Duration::from_secs(2);

/// How many requests may wait for one key, each of which holds its body.
const WAITING_MAX: usize = 256;

/// How many fetches run at once. Sources are few and fetches are rare.
const FLIGHTS_MAX: usize = 64;

/// Fetches keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keys {
    fetcher: Fetcher,
    roots: Roots,
    metrics: Metrics,
    runtime: Handle,
    flights: Arc<Mutex<Flights>>,
}

/// Whose requests need a key: a label of its figures, and a field of its lines in the log.
#[derive(Debug, Clone)]
pub enum Asker {
    /// A source's, from its provider.
    Source(Name),
    /// A gateway's, from the issuer of its clients' tokens.
    Gateway(Name),
}

impl Asker {
    /// The names of a source and of a gateway, one of which it is, as fields of the log.
    fn fields(&self) -> (Option<DisplayValue<&Name>>, Option<DisplayValue<&Name>>) {
        match self {
            Self::Source(name) => (Some(display(name)), None),
            Self::Gateway(name) => (None, Some(display(name))),
        }
    }
}

/// The fetches that run, by what they fetch; each ends its channel when it is over.
type Flights = HashMap<(usize, String), watch::Sender<()>>;

/// Takes a fetch off the list, however it ends.
struct Landing {
    flights: Arc<Mutex<Flights>>,
    same_as: (usize, String),
}

impl Drop for Landing {
    fn drop(&mut self) {
        // With the list's entry goes the channel's only sender, which wakes those that wait.
        lock(&self.flights).remove(&self.same_as);
    }
}

fn lock(flights: &Mutex<Flights>) -> MutexGuard<'_, Flights> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// Fetches by `fetcher`, on the runtime that this is called on; certificates must lead to one of
    /// `roots`.
    #[must_use]
    pub fn new(fetcher: Fetcher, roots: Roots, metrics: Metrics) -> Self {
        Self { fetcher, roots, metrics, runtime: Handle::current(), flights: Arc::default() }
    }

    /// Sees to it that the key by which `source` will judge `received` is here, as far as that can be
    /// had. Dropping the future only gives the waiting up.
    pub async fn see_to(&self, source: &Source, received: &Received) {
        let now = received.arrived_at;
        if let Some(wanted) = source.key_wanted(received, now) {
            self.see_to_key(Asker::Source(source.name().clone()), wanted, now).await;
        }
    }

    /// Sees to it that a key is here which a request of `now` needs, as far as that can be had. Dropping
    /// the future only gives the waiting up.
    pub async fn see_to_key(&self, asker: Asker, wanted: KeyWanted, now: DateTime<Utc>) {
        let urgent = wanted.is_urgent();
        let Some(mut landed) = self.fetch(asker, wanted, now) else { return };
        if urgent {
            // An error is what we wait for: the channel ends with the fetch.
            drop(tokio::time::timeout(WAIT, landed.changed()).await);
        }
    }

    /// Joins the fetch of this key or begins one; `None` when it can't be asked for now.
    fn fetch(
        &self,
        asker: Asker,
        wanted: KeyWanted,
        now: DateTime<Utc>,
    ) -> Option<watch::Receiver<()>> {
        let same_as = wanted.same_as();
        let mut flights = lock(&self.flights);
        if let Some(waiting) = flights.get(&same_as) {
            return (waiting.receiver_count() < WAITING_MAX).then(|| waiting.subscribe());
        }
        if flights.len() >= FLIGHTS_MAX || !wanted.begin(now) {
            return None;
        }
        let (waiting, landed) = watch::channel(());
        flights.insert(same_as.clone(), waiting);
        let landing = Landing { flights: Arc::clone(&self.flights), same_as };
        let keys = self.clone();
        self.runtime.spawn(async move {
            keys.run(&asker, &wanted).await;
            drop(landing);
        });
        Some(landed)
    }

    async fn run(&self, asker: &Asker, wanted: &KeyWanted) {
        let answer = self.fetcher.ask(wanted.url(), wanted.body()).await;
        let outcome = self.outcome(asker, wanted, answer);
        match asker {
            Asker::Source(name) => self.metrics.key_fetched(name, outcome),
            Asker::Gateway(name) => self.metrics.issuer_key_fetched(name, outcome),
        }
    }

    fn outcome(
        &self,
        asker: &Asker,
        wanted: &KeyWanted,
        answer: Result<Answer, FetchError>,
    ) -> &'static str {
        let now = Utc::now();
        let host = wanted.url().host_str().unwrap_or_default();
        let (source, gateway) = asker.fields();
        match answer {
            Ok(answer) => match wanted.accept(&answer.body, answer.max_age, &self.roots, now) {
                Ok(()) => {
                    info!(
                        source.name = source,
                        gateway,
                        server.address = host,
                        "fetched a key of {host}"
                    );
                    "fetched"
                }
                Err(why) => {
                    if wanted.is_named_by_request() {
                        wanted.refused(now);
                    }
                    warn!(source.name = source, gateway, server.address = host, "{host}: {why}");
                    "unusable"
                }
            },
            // It says that there is none. Anything else may be our fault, or pass.
            Err(error) if matches!(error.status(), Some(404 | 410)) => {
                wanted.refused(now);
                info!(
                    source.name = source,
                    gateway,
                    server.address = host,
                    "{host} has no such key"
                );
                "absent"
            }
            Err(error) => {
                warn!(
                    source.name = source,
                    gateway,
                    server.address = host,
                    "a key could not be fetched: {error}"
                );
                "failed"
            }
        }
    }
}

#[cfg(test)]
mod tests;
