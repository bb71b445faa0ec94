//! What every handler that leaves the house says of an event and its delivery, by the contract's names.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Context;
use crate::event::Event;

/// What a header can't hold; and `%`, so that decoding gives the value back whatever was in it.
/// Characters beyond ASCII are always encoded.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

/// The facts, as they are.
pub(super) fn facts(
    event: &Event,
    context: &Context,
) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let delivery = context.delivery.to_string();
    let stale = context.stale.then(|| ("hookonce-stale", "true".to_owned()));
    let always = [
        ("webhook-id", delivery.clone()),
        ("idempotency-key", delivery),
        ("hookonce-source", event.source.to_string()),
        ("hookonce-event", event.id.to_string()),
        ("hookonce-event-id", event.event_id.clone()),
        ("hookonce-event-type", event.kind.clone()),
        ("hookonce-attempt", context.attempt.to_string()),
        ("hookonce-epoch", context.epoch.to_string()),
    ];
    always.into_iter().chain(stale)
}

/// A value as a header line can hold it: percent-encoded where it must be.
pub(super) fn header_value(value: &str) -> String {
    let inner = value.trim_matches(' ');
    let lead = value.len() - value.trim_start_matches(' ').len();
    let tail = if inner.is_empty() { 0 } else { value.len() - value.trim_end_matches(' ').len() };
    // Parsers trim spaces at both ends, so these are encoded too.
    format!("{}{}{}", "%20".repeat(lead), utf8_percent_encode(inner, UNSAFE), "%20".repeat(tail))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn no_value_is_dropped_and_none_can_break_a_header() {
        for (value, want) in [
            ("evt_1", "evt_1"),
            ("orders/create", "orders/create"),
            ("a b", "a b"),
            (" a b  ", "%20a b%20%20"),
            ("  ", "%20%20"),
            ("", ""),
            ("a\r\nx: 1", "a%0D%0Ax: 1"),
            ("nul\0tab\tdel\x7f", "nul%00tab%09del%7F"),
            ("é", "%C3%A9"),
            ("100%", "100%25"),
        ] {
            assert_eq!(header_value(value), want, "{value:?}");
            assert!(HeaderValue::from_str(&header_value(value)).is_ok(), "{value:?}");
            let back = percent_encoding::percent_decode_str(want).decode_utf8().expect("UTF-8");
            assert_eq!(back, value);
        }
    }
}
