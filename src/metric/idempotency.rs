//! What became of requests with an idempotency key.

use entity::Name;

use super::{Metrics, names};

impl Metrics {
    /// Counts a request of a protected method by what became of it: `run`, `replayed`, `unguarded`, or
    /// the code of its refusal.
    pub fn idempotency(&self, gateway: &Name, outcome: &'static str) {
        let labels = [("gateway", gateway.as_str()), ("outcome", outcome)];
        self.counter(names::IDEMPOTENCY, &labels).increment(1);
    }

    /// Counts what asking the cache of answers came to: `hit`, `miss`, `error`, `rejected` or `skipped`.
    pub fn idempotency_cache(&self, gateway: &Name, outcome: &'static str) {
        let labels = [("gateway", gateway.as_str()), ("outcome", outcome)];
        self.counter(names::IDEMPOTENCY_CACHE, &labels).increment(1);
    }

    /// Counts a fetch of the keys of a gateway's issuer: `fetched`, `absent`, `unusable` or `failed`.
    pub fn issuer_key_fetched(&self, gateway: &Name, outcome: &'static str) {
        let labels = [("gateway", gateway.as_str()), ("outcome", outcome)];
        self.counter(names::ISSUER_KEY_FETCHES, &labels).increment(1);
    }
}
