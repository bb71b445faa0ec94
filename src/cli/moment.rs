//! Moments on the command line: `2h` ago, or RFC 3339.

use chrono::{DateTime, TimeDelta, Utc};

/// Reads `2h`, `3d` or an RFC 3339 time, as of now.
pub(super) fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    read(text, Utc::now())
}

fn read(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.to_utc());
    }
    humantime::parse_duration(text)
        .ok()
        .and_then(|ago| TimeDelta::from_std(ago).ok())
        .and_then(|ago| now.checked_sub_signed(ago))
        .ok_or_else(|| {
            "write how long ago, such as 2h or 3d, or a time such as 2026-11-23T12:00:00Z"
                .to_owned()
        })
}

/// A moment as people read it.
pub(super) fn show(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = DateTime::parse_from_rfc3339("2026-11-23T12:00:00Z").expect("a time").to_utc();
        for (text, want) in [
            ("2h", "2026-11-23T10:00:00Z"),
            ("3d", "2026-11-20T12:00:00Z"),
            ("2026-11-23T12:30:00+01:00", "2026-11-23T11:30:00Z"),
        ] {
            assert_eq!(read(text, now).map(show).as_deref(), Ok(want), "{text}");
        }
        for text in ["", "soon", "99999999y"] {
            assert!(read(text, now).is_err(), "{text}");
        }
    }
}
