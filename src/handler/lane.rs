//! Lanes: which deliveries of a handler are made one after the other.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::received::{Headers, Received};
use crate::verify::Verified;
use crate::verify::field::Field;

/// The lane of events in whose place nothing readable stands: they are made one after the other too.
pub const NO_LANE: &str = "";

/// Longer values are known by their SHA-256.
const TEXT_BYTES_MAX: usize = 200;

/// Where the name of an event's lane stands, and what a dead delivery does to its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    place: Field,
    /// Whether a dead delivery lets the next one go; it stops its lane else.
    pub skip_dead: bool,
}

impl Lane {
    /// Reads `header:NAME`, `query:NAME`, `form:NAME`, `form:NAME:/pointer` or `body:/pointer`. Fails with a
    /// sentence that says what would be a place.
    pub fn parse(place: &str, skip_dead: bool) -> Result<Self, String> {
        Ok(Self { place: Field::parse(place)?, skip_dead })
    }

    /// The place, as it is written.
    #[must_use]
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// The lane of an event. Where nothing readable stands (no such value, null, an object, twice the same
    /// key, a body that isn't JSON) it is [`NO_LANE`], which is a lane like any other: an order that nobody
    /// can tell is kept as strictly as one can.
    #[must_use]
    pub fn of(&self, verified: &Verified) -> String {
        self.read(verified.received())
    }

    /// The lane of an event that was recorded before, as [`Lane::of`] would have said it from the headers and
    /// the body that are kept. The query isn't kept: a place in it is one where nothing readable stands.
    #[must_use]
    pub fn of_kept(&self, headers: Headers, body: Bytes) -> String {
        self.read(&Received::kept(headers, body))
    }

    fn read(&self, received: &Received) -> String {
        match self.place.read(received) {
            Ok(Some(value)) => match std::str::from_utf8(&value) {
                Ok(text) if text.len() <= TEXT_BYTES_MAX && !text.contains('\0') => text.to_owned(),
                _ => format!("sha256:{}", hex::encode(Sha256::digest(&value))),
            },
            Ok(None) => NO_LANE.to_owned(),
            Err(why) => {
                tracing::debug!(lane.place = %self.place, "an event has no lane: {why}");
                NO_LANE.to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn lane(place: &str, body: &'static str) -> String {
        let mut headers = Headers::new();
        headers.push("X-Account", Bytes::from_static(b"acct_1"));
        let received = Received {
            method: "POST".to_owned(),
            target: "/in/shop?k=v".to_owned(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
            peer: None,
            arrived_at: DateTime::<Utc>::UNIX_EPOCH,
        };
        Lane::parse(place, false).expect("a place").read(&received)
    }

    #[test]
    fn a_lane_is_what_stands_in_its_place() {
        assert_eq!(lane("body:/o/id", r#"{"o":{"id":"ord_1"}}"#), "ord_1");
        assert_eq!(lane("body:/o/id", r#"{"o":{"id":7}}"#), "7");
        assert_eq!(lane("header:x-account", ""), "acct_1");
        assert_eq!(lane("query:k", ""), "v");
        assert_eq!(lane("form:order", "order=9&x=1"), "9");
    }

    #[test]
    fn what_cannot_be_read_shares_one_lane() {
        for body in ["{}", r#"{"id":null}"#, r#"{"id":{}}"#, r#"{"id":1,"id":2}"#, "no json", ""] {
            assert_eq!(lane("body:/id", body), NO_LANE, "{body}");
        }
        assert_eq!(lane("header:x-none", ""), NO_LANE);
        assert!(Lane::parse("cookie:x", false).is_err());
    }

    #[test]
    fn a_name_that_no_index_holds_is_known_by_its_hash() {
        let long: &'static str = Box::leak(format!("{{\"id\":\"{}\"}}", "x".repeat(5_000)).into());
        assert_eq!(lane("body:/id", long).len(), "sha256:".len() + 64);
        assert!(lane("body:/id", r#"{"id":"a\u0000b"}"#).starts_with("sha256:"));
    }
}
