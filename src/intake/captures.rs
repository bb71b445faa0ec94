//! Secrets that handshakes bring, between the database and the sources that verify with them.
//!
//! The database is what counts. A replica that missed a capture, or a reopening, learns of it within
//! [`POLL`]; and at once when a request would be refused for want of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio_util::sync::CancellationToken;

use crate::secret::Secret;
use crate::source::{Source, Sources};
use crate::store::captured::Captured;
use crate::store::{Store, StoreError};

/// How long a replica may not know what another one captured.
pub const POLL: Duration = Duration::from_secs(5);

/// How long a request waits for a look into the database.
const LOOK: Duration = Duration::from_secs(2);

/// Looks into the database a second that refused requests may cause: anybody can send those.
const LOOKS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// Keeps captured secrets, and lets the sources know them.
#[derive(Debug)]
pub struct Captures {
    store: Store,
    sources: Arc<Sources>,
    looks: DefaultDirectRateLimiter,
}

/// What became of a secret that a handshake brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capturing {
    /// The source verifies with it, and will on every replica.
    Done,
    /// Another one came first, and stays.
    Closed,
}

impl Captures {
    /// Joins them.
    #[must_use]
    pub fn new(store: Store, sources: Arc<Sources>) -> Self {
        Self { store, sources, looks: RateLimiter::direct(Quota::per_second(LOOKS)) }
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether any source captures.
    #[must_use]
    pub fn any(&self) -> bool {
        self.sources.iter().any(|source| source.captures())
    }

    /// Reads what was captured, on whatever replica, and lets the sources know it. Asks the database
    /// only when some source captures.
    pub async fn load(&self) -> Result<(), StoreError> {
        if !self.any() {
            return Ok(());
        }
        let captured = self.store.captured().await?;
        for source in self.sources.iter().filter(|source| source.captures()) {
            teach(source, &captured);
        }
        Ok(())
    }

    /// Makes a secret durable and lets the source verify with it. Whatever this returns, the source
    /// knows then what the database knows.
    pub async fn keep(&self, source: &Source, secret: Secret) -> Result<Capturing, StoreError> {
        let shown = secret.fingerprint();
        let first = self.store.capture(source.name().clone(), secret).await?;
        let captured = self.store.captured().await?;
        teach(source, &captured);
        let ours = captured
            .iter()
            .any(|it| it.source == source.name().as_str() && it.secret.fingerprint() == shown);
        if first && ours {
            tracing::info!(source.name = %source.name(),
                "{} was handed its secret and is active", source.name());
        }
        Ok(if ours { Capturing::Done } else { Capturing::Closed })
    }

    /// Forgets the secret of a source, which waits for a handshake then unless the config has one.
    /// Other replicas learn of it as of a capture.
    pub async fn forget(&self, source: &Source) -> Result<bool, StoreError> {
        let forgotten = self.store.forget_captured(source.name().clone()).await?;
        teach(source, &self.store.captured().await?);
        tracing::info!(source.name = %source.name(), "{} was reopened", source.name());
        Ok(forgotten)
    }

    /// Looks whether the database knows more of this source than it does itself; tells whether that
    /// was so. Only so often: in between, and when the database is away, the answer is no.
    pub async fn look(&self, source: &Source) -> bool {
        if !source.captures() || self.looks.check().is_err() {
            return false;
        }
        // The sender waits: a slow database must not hold its answer up.
        match tokio::time::timeout(LOOK, self.store.captured()).await {
            Ok(Ok(captured)) => teach(source, &captured),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "captured secrets can't be looked up"
                );
                false
            }
            Err(_) => {
                tracing::warn!("captured secrets can't be looked up within {} s", LOOK.as_secs());
                false
            }
        }
    }

    /// Looks every [`POLL`] until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        if !self.any() {
            return;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            if let Err(error) = self.load().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "captured secrets can't be looked up"
                );
            }
        }
    }
}

/// Lets a source know what was captured for it; tells whether that is news.
fn teach(source: &Source, captured: &[Captured]) -> bool {
    let own: Vec<Secret> = captured
        .iter()
        .filter(|it| it.source == source.name().as_str())
        .map(|it| it.secret.clone())
        .collect();
    source.learn(&own).unwrap_or_else(|why| {
        tracing::error!(source.name = %source.name(),
            "the captured secret of {} can't be used: {why}", source.name());
        false
    })
}
