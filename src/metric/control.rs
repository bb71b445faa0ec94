//! Handlers that are held back, and those that answer for a source.

use entity::Name;

use super::{Metrics, names};

impl Metrics {
    /// Counts a request that was to be answered by a handler: `in_time`, `repeated`, `late` or `none`.
    pub fn responded(&self, source: &Name, outcome: &'static str) {
        let labels = [("source", source.as_str()), ("outcome", outcome)];
        self.counter(names::RESPONDED, &labels).increment(1);
    }

    /// Sets whether a handler is paused, and whether its breaker did that.
    pub fn held_back(&self, handler: &Name, paused: bool, by_breaker: bool) {
        let labels = [("handler", handler.as_str())];
        self.gauge(names::HANDLER_PAUSED, &labels).set(f64::from(u8::from(paused)));
        self.gauge(names::BREAKER_OPEN, &labels).set(f64::from(u8::from(by_breaker)));
    }
}
