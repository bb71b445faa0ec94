//! Handlers that are held back.

use entity::Name;

use super::{Metrics, names};

impl Metrics {
    /// Sets whether a handler is paused, and whether its breaker did that.
    pub fn held_back(&self, handler: &Name, paused: bool, by_breaker: bool) {
        let labels = [("handler", handler.as_str())];
        self.gauge(names::HANDLER_PAUSED, &labels).set(f64::from(u8::from(paused)));
        self.gauge(names::BREAKER_OPEN, &labels).set(f64::from(u8::from(by_breaker)));
    }
}
