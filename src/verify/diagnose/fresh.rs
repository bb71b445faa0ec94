//! Authentic requests whose time is wrong.

use chrono::{DateTime, Utc};

use super::search::Case;
use super::{Cause, Diagnosis};
use crate::verify::freshness::Unit;
use crate::verify::rejection::{Code, Rejection};

/// A difference of a whole number of hours, within this many seconds, is a time zone.
const ZONE_SLACK: i64 = 120;

/// Says by how much, and what it looks like.
pub(super) fn judged(case: &Case, rejection: &Rejection, now: DateTime<Utc>) -> Diagnosis {
    let authentic = "authentic: a secret of this source made the signature";
    if let Some(unit) = other_unit(case, now) {
        let sentence = format!(
            "{authentic}; but the timestamp is {unit}, and this source reads it otherwise: set `timestamp.unit`"
        );
        return Diagnosis { proven: true, ..Diagnosis::new(Cause::TimeUnit, sentence) };
    }
    let age = age(case, now);
    let detail = &rejection.detail;
    let (cause, usual) = match age {
        // Only ahead of time: a retry comes after whole hours too.
        Some(age) if age < 0 && is_zone(-age) => (
            Cause::TimeZone,
            "it is ahead by whole hours: a local time is taken for UTC on one side".to_owned(),
        ),
        _ if rejection.code == Code::TimestampFuture => (
            Cause::Future,
            "one of the two clocks is wrong: compare this machine's with `date -u`, and the sender's with its `Date` header".to_owned(),
        ),
        _ => (
            Cause::Stale,
            "it is a retry that keeps its first timestamp, it waited on its way, or somebody sent it again; if the provider retries so, set `tolerance`".to_owned(),
        ),
    };
    Diagnosis { proven: true, ..Diagnosis::new(cause, format!("{authentic}; {detail}; {usual}")) }
}

/// The unit by which it is fresh.
fn other_unit(case: &Case, now: DateTime<Utc>) -> Option<Unit> {
    let clock = case.scheme.clock.as_ref()?;
    [Unit::Seconds, Unit::Millis].into_iter().filter(|unit| *unit != clock.unit).find(|unit| {
        let mut case = case.clone();
        if let Some(clock) = &mut case.scheme.clock {
            clock.unit = *unit;
        }
        case.scheme.verify(&case.received, now).is_ok()
    })
}

fn age(case: &Case, now: DateTime<Utc>) -> Option<i64> {
    let time = case.scheme.signed_time(&case.received)?;
    Some(now.signed_duration_since(time).num_seconds())
}

fn is_zone(ahead: i64) -> bool {
    let off = (ahead + ZONE_SLACK) % 3600;
    let hours = (ahead + ZONE_SLACK) / 3600;
    (1..=14).contains(&hours) && off <= 2 * ZONE_SLACK
}
