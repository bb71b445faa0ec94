//! When a schedule strikes, and the hours in which cleanup may run. Pure.

use chrono::{DateTime, NaiveTime, Utc};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds};

/// Reads a schedule of six fields as the scheduler does.
pub fn parse(schedule: &str) -> Result<Cron, CronError> {
    CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build().parse(schedule)
}

/// The moment at which the schedule last struck, at or before `now`.
pub fn last_strike(schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, CronError> {
    parse(schedule)?.find_previous_occurrence(&now, true)
}

/// The moment at which the schedule strikes next, after `now`.
pub fn next_strike(schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, CronError> {
    parse(schedule)?.find_next_occurrence(&now, false)
}

/// Whether `now` lies in a window of the day that may span midnight; its end is outside.
#[must_use]
pub fn within(window: Option<(NaiveTime, NaiveTime)>, now: DateTime<Utc>) -> bool {
    let Some((from, to)) = window else { return true };
    let time = now.time();
    if from <= to { from <= time && time < to } else { from <= time || time < to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_schedule_strikes_at_its_seconds() {
        let every_five = "0 */5 * * * *";
        assert_eq!(
            last_strike(every_five, at("2026-11-23T10:07:31Z")).expect("valid"),
            at("2026-11-23T10:05:00Z")
        );
        assert_eq!(
            last_strike(every_five, at("2026-11-23T10:05:00Z")).expect("valid"),
            at("2026-11-23T10:05:00Z")
        );
        assert_eq!(
            next_strike(every_five, at("2026-11-23T10:05:00Z")).expect("valid"),
            at("2026-11-23T10:10:00Z")
        );
        assert!(parse("* * * * *").is_err(), "five fields are normalised by the config");
    }

    #[test]
    fn a_window_may_span_midnight() {
        let time = |text: &str| text.parse::<NaiveTime>().expect("a time of day");
        let night = Some((time("23:00:00"), time("05:00:00")));
        for (now, want) in
            [("23:00:00", true), ("02:00:00", true), ("05:00:00", false), ("12:00:00", false)]
        {
            assert_eq!(within(night, at(&format!("2026-11-23T{now}Z"))), want, "{now}");
        }
        let morning = Some((time("01:00:00"), time("05:00:00")));
        assert!(within(morning, at("2026-11-23T01:00:00Z")));
        assert!(!within(morning, at("2026-11-23T23:00:00Z")));
        assert!(within(None, at("2026-11-23T23:00:00Z")));
    }
}
