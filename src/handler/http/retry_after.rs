//! `Retry-After`: the receiver's own wish, in seconds or as a date.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How long to wait from `now`; a date that has passed is no wait. `None` when it can't be read.
pub(super) fn wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds mean "very long"; the retry policy has its own bound.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::from(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let now = DateTime::parse_from_rfc3339("1994-11-06T08:49:00Z").expect("a time").to_utc();
        let secs = |secs| Some(Duration::from_secs(secs));
        for (text, want) in [
            ("120", secs(120)),
            (" 0 ", secs(0)),
            ("99999999999999999999999", secs(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", secs(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", secs(37)),
            ("Sun Nov  6 08:49:37 1994", secs(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", secs(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            assert_eq!(wait(&headers, now), want, "{text:?}");
        }
        assert_eq!(wait(&HeaderMap::new(), now), None);
    }
}
