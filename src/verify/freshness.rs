//! When a request was signed, and whether that is near enough to now.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::field::Field;
use super::rejection::{Code, Rejection};

/// As seconds, this is in the year 5138; as milliseconds, in 1973.
const MILLIS_FROM: i64 = 100_000_000_000;

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Seconds or milliseconds since 1970: a number over [`MILLIS_FROM`] is of milliseconds.
    SecondsOrMillis,
    /// RFC 3339.
    Rfc3339,
}

/// The clock of a scheme.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Where the timestamp stands; in the signature's own grammar when `None`.
    pub(crate) from: Option<Field>,
    /// How it is written.
    pub(crate) unit: Unit,
    /// How old it may be.
    pub(crate) tolerance: Duration,
    /// How far ahead of our clock it may be.
    pub(crate) future: Duration,
    /// Whether it is signed. An unsigned time proves nothing and isn't judged.
    pub(crate) signed: bool,
}

impl Unit {
    /// Reads a timestamp. Only ASCII digits: a sign, a fraction, white space or too big a number is
    /// malformed, because lenient readers disagree about them.
    pub(crate) fn parse(self, text: &[u8]) -> Result<DateTime<Utc>, Rejection> {
        let malformed =
            || Rejection::new(Code::SignatureMalformed, format!("the timestamp is not {self}"));
        let text = std::str::from_utf8(text).map_err(|_| malformed())?;
        if self == Self::Rfc3339 {
            let time = DateTime::parse_from_rfc3339(text).map_err(|_| malformed())?;
            return Ok(time.with_timezone(&Utc));
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let number: i64 = text.parse().map_err(|_| malformed())?;
        let time = match self {
            Self::Millis => DateTime::from_timestamp_millis(number),
            Self::SecondsOrMillis if number >= MILLIS_FROM => {
                DateTime::from_timestamp_millis(number)
            }
            Self::Seconds | Self::SecondsOrMillis | Self::Rfc3339 => {
                DateTime::from_timestamp(number, 0)
            }
        };
        time.ok_or_else(malformed)
    }

    /// Writes a timestamp.
    pub(crate) fn write(self, time: DateTime<Utc>) -> String {
        match self {
            Self::Seconds | Self::SecondsOrMillis => time.timestamp().to_string(),
            Self::Millis => time.timestamp_millis().to_string(),
            Self::Rfc3339 => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Seconds => "a whole number of seconds since 1970",
            Self::Millis => "a whole number of milliseconds since 1970",
            Self::SecondsOrMillis => "a whole number of seconds or milliseconds since 1970",
            Self::Rfc3339 => "an RFC 3339 time",
        })
    }
}

impl Clock {
    /// Judges a signed time as of `now`. Both limits are still good.
    pub(crate) fn check(&self, time: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Rejection> {
        // A time in whole seconds was cut, not rounded: judge it with our own seconds cut as well,
        // or the limit would be up to a second nearer than the provider's libraries have it.
        let now = match self.unit {
            Unit::Seconds | Unit::SecondsOrMillis => {
                DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now)
            }
            Unit::Millis | Unit::Rfc3339 => now,
        };
        let age = now.signed_duration_since(time);
        if age > delta(self.tolerance) {
            let detail = format!(
                "signed {} s ago; this source's tolerance is {} s",
                age.num_seconds(),
                self.tolerance.as_secs()
            );
            return Err(Rejection::new(Code::TimestampStale, detail));
        }
        if -age > delta(self.future) {
            let detail = format!(
                "signed {} s ahead of our clock; {} s are allowed",
                -age.num_seconds(),
                self.future.as_secs()
            );
            return Err(Rejection::new(Code::TimestampFuture, detail));
        }
        Ok(())
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 999_000_000).expect("a time")
    }

    #[test]
    fn both_limits_are_good_and_one_more_second_is_not() {
        let clock = Clock {
            from: None,
            unit: Unit::Seconds,
            tolerance: Duration::from_secs(300),
            future: Duration::from_secs(60),
            signed: true,
        };
        let signed = Unit::Seconds.parse(b"1000").expect("a time");
        for (now, wanted) in [
            (1000, Ok(())),
            (1300, Ok(())),
            (1301, Err(Code::TimestampStale)),
            (940, Ok(())),
            (939, Err(Code::TimestampFuture)),
            (i64::from(u32::MAX), Err(Code::TimestampStale)),
        ] {
            assert_eq!(clock.check(signed, at(now)).map_err(|r| r.code), wanted, "{now}");
        }
    }

    #[test]
    fn only_plain_digits_are_a_timestamp() {
        for bad in [
            "",
            "-1",
            "+1",
            "1.0",
            "1e9",
            " 1",
            "1 ",
            "0x1",
            "99999999999999999999",
            "9223372036854775807",
            "١٢",
        ] {
            for unit in [Unit::Seconds, Unit::Rfc3339] {
                let code = unit.parse(bad.as_bytes()).map_err(|r| r.code);
                assert_eq!(code, Err(Code::SignatureMalformed), "{bad:?}");
            }
        }
    }

    #[test]
    fn each_unit_reads_what_it_writes() {
        let time = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
        for unit in [Unit::Seconds, Unit::Millis, Unit::SecondsOrMillis, Unit::Rfc3339] {
            assert_eq!(unit.parse(unit.write(time).as_bytes()), Ok(time));
        }
        assert_eq!(Unit::Millis.parse(b"1767225600000"), Ok(time));
        assert_eq!(Unit::SecondsOrMillis.parse(b"1767225600000"), Ok(time));
        assert_eq!(Unit::Rfc3339.parse(b"2025-12-31T17:00:00-07:00"), Ok(time));
    }
}
