//! Versions: which of a lane's events says what is newest, whatever the order in which they came.

use std::fmt;

use bytes::Bytes;
use chrono::DateTime;

use crate::received::{Headers, Received};
use crate::verify::field::Field;

/// Digits before the point: those of the largest 64-bit number.
const WHOLE: usize = 20;

/// Digits behind it: nanoseconds.
const PART: usize = 9;

/// What becomes of an event when a newer one of its lane was delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStale {
    /// The handler is called, and told.
    Flag,
    /// The handler isn't called.
    Skip,
}

/// Where an event's version stands, and what becomes of a stale one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    place: Field,
    /// What becomes of a stale one.
    pub on_stale: OnStale,
}

/// A version in a form whose order as text is that of what it says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(String);

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Versions {
    /// Reads `header:NAME`, `form:NAME`, `form:NAME:/pointer` or `body:/pointer`. Fails with a sentence that
    /// says what would be a place.
    pub fn parse(place: &str, on_stale: OnStale) -> Result<Self, String> {
        let place = Field::parse(place)?;
        if matches!(place, Field::Query(_)) {
            // It is read when the handler is about to be called.
            return Err("the query isn't kept with an event: name a place in its headers or body"
                .to_owned());
        }
        Ok(Self { place, on_stale })
    }

    /// The place, as it is written.
    #[must_use]
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// The version of an event; `None` where nothing stands that has an order.
    #[must_use]
    pub fn of(&self, headers: Headers, body: Bytes) -> Option<Version> {
        let received = Received::kept(headers, body);
        let value = self.place.read(&received).ok()??;
        Version::read(std::str::from_utf8(&value).ok()?)
    }
}

impl Version {
    /// Reads a number that isn't negative, with or without a fraction, or a time as RFC 3339 has it (also with
    /// an offset without a colon). Fractions are cut after nine digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !whole.is_empty() && digits(whole) && digits(part) {
            return Self::of(whole.trim_start_matches('0'), part);
        }
        let time = DateTime::parse_from_rfc3339(text)
            .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
            .ok()?;
        let whole = u64::try_from(time.timestamp()).ok()?;
        Self::of(
            &whole.to_string(),
            &format!("{:09}", time.timestamp_subsec_nanos().min(999_999_999)),
        )
    }

    fn of(whole: &str, part: &str) -> Option<Self> {
        let part = &part[..part.len().min(PART)];
        (whole.len() <= WHOLE).then(|| Self(format!("{whole:0>WHOLE$}.{part:0<PART$}")))
    }

    /// Thirty characters: digits, a point, digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::read(text).unwrap_or_else(|| panic!("{text} is a version"))
    }

    #[test]
    fn versions_have_the_order_of_what_they_say() {
        for (older, newer) in [
            ("9", "10"),
            ("0", "18446744073709551615"),
            ("1699999999.9", "1700000000"),
            ("1700000000", "1700000000.000001"),
            ("1700000000.000001", "1700000000.00001"),
            ("2026-11-26T10:00:00Z", "2026-11-26T10:00:00.5Z"),
            ("2026-11-26T11:00:00+02:00", "2026-11-26T10:00:00Z"),
            ("2026-11-26T11:00:00.123+0200", "2026-11-26T10:00:00.122Z"),
        ] {
            assert!(version(older) < version(newer), "{older} is older than {newer}");
        }
        for (one, other) in [
            ("7", "007"),
            ("1.5", "1.50"),
            ("1.1234567891", "1.1234567899"),
            (" 3 ", "3"),
            ("2026-11-26T12:00:00+02:00", "2026-11-26T10:00:00Z"),
            ("1970-01-01T00:00:07Z", "7"),
        ] {
            assert_eq!(version(one), version(other), "{one} and {other}");
        }
    }

    #[test]
    fn what_has_no_order_is_no_version() {
        for text in [
            "",
            "-1",
            "1e9",
            "abc",
            "v2",
            ".5",
            "1.2.3",
            "٣",
            "2026-11-26",
            "1969-12-31T23:59:59Z",
            "123456789012345678901",
        ] {
            assert_eq!(Version::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn it_stands_in_its_place() {
        let of = |place: &str, body: &'static str| {
            let mut headers = Headers::new();
            headers.push("X-Rev", Bytes::from_static(b"12"));
            let versions = Versions::parse(place, OnStale::Skip).expect("a place");
            versions.of(headers, Bytes::from_static(body.as_bytes()))
        };
        assert_eq!(of("body:/created", r#"{"created":1700000000}"#), Some(version("1700000000")));
        assert_eq!(
            of("body:/at", r#"{"at":"2026-11-26T10:00:00Z"}"#),
            Some(version("2026-11-26T10:00:00Z"))
        );
        assert_eq!(of("header:x-rev", ""), Some(version("12")));
        for body in [
            "{}",
            r#"{"created":null}"#,
            r#"{"created":[]}"#,
            r#"{"created":1,"created":2}"#,
            "no json",
        ] {
            assert_eq!(of("body:/created", body), None, "{body}");
        }
        assert!(Versions::parse("query:rev", OnStale::Skip).is_err());
        assert!(Versions::parse("created", OnStale::Skip).is_err());
    }
}
