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

/// A schedule of six fields as pg_cron of every version reads it: five fields, of which it knows less.
///
/// Refused is what pg_cron would not run, or would run at other times than we do.
pub fn for_pg_cron(schedule: &str) -> Result<String, String> {
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [seconds, minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!("the schedule `{schedule}` has not six fields"));
    };
    if seconds != "0" && seconds != "00" {
        return Err(format!(
            "pg_cron knows no seconds: let `cleanup.schedule` begin with 0, not `{seconds}`, or write five fields"
        ));
    }
    // croner wants both; cron of old, and pg_cron with it, takes either.
    if !day.starts_with('*') && !weekday.starts_with('*') {
        return Err(format!(
            "pg_cron runs on a day that fits the day of the month `{day}` or the weekday `{weekday}`, hookonce on one that fits both: let one of the two be *"
        ));
    }
    for field in [minute, hour, day, month, weekday] {
        let known = |c: char| c.is_ascii_digit() || "*,-/".contains(c);
        let is_name = field
            .split([',', '-'])
            .all(|word| word.len() == 3 && word.chars().all(|c| c.is_ascii_alphabetic()));
        if !field.chars().all(known) && !is_name {
            return Err(format!("pg_cron can't read `{field}` in `cleanup.schedule`"));
        }
    }
    Ok([minute, hour, day, month, weekday].join(" "))
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

    #[test]
    fn pg_cron_gets_what_it_runs_at_the_same_times() {
        for (ours, want) in [
            ("0 */5 * * * *", Ok("*/5 * * * *")),
            ("00 30 3 * * MON-FRI", Ok("30 3 * * MON-FRI")),
            ("0 0 4 1,15 * *", Ok("0 4 1,15 * *")),
            ("30 */5 * * * *", Err("knows no seconds")),
            ("*/10 * * * * *", Err("knows no seconds")),
            ("0 0 4 1 * MON", Err("fits both")),
            ("0 0 4 L * *", Err("can't read `L`")),
            ("0 0 4 * * FRI#2", Err("can't read `FRI#2`")),
        ] {
            match (for_pg_cron(ours), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{ours}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{ours}: {got}"),
                (got, want) => panic!("{ours}: {got:?}, not {want:?}"),
            }
        }
    }
}
