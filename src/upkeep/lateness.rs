//! Whether cleanup does its work: judged by the runs of all replicas and of pg_cron. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::upkeep_run;

use super::{CleanupSettings, schedule};

/// How long after a strike a run may begin: missed strikes are looked for every minute.
const GRACE: Duration = Duration::from_secs(180);

/// How many runs are looked at for the last one that ended well.
pub const RUNS: u64 = 50;

/// How cleanup stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// When the last run that ended well did so.
    pub last_success: Option<DateTime<Utc>>,
    /// How long a strike has been waiting for a run that serves it; zero when none is.
    pub overdue: Duration,
    /// What an operator should know, in a line; `None` when all is well.
    pub fault: Option<String>,
}

/// Judges by the last `runs`, newest first. `since` is when this replica began to watch: strikes before it
/// are nobody's.
#[must_use]
pub fn judge(
    settings: &CleanupSettings,
    runs: &[upkeep_run::Model],
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Standing {
    let ended_well = |run: &&upkeep_run::Model| matches!(&*run.outcome, "done" | "partial");
    let last_success = runs.iter().find(ended_well).and_then(|run| run.finished_at);
    let serves = |run: &&upkeep_run::Model| ended_well(run) || run.outcome == "running";
    let served = runs.iter().find(serves).map(|run| run.started_at);
    let from = served.map_or(since, |served| served.max(since));
    let waited = strike_after(settings, from)
        .and_then(|strike| (now - strike).to_std().ok())
        // One that is at work serves the strikes that fall into it.
        .filter(|waited| *waited > GRACE && !is_running(runs, now));
    let failure = runs.first().filter(|run| matches!(&*run.outcome, "failed" | "lost"));
    let fault = match (failure, waited) {
        (Some(run), _) => Some(format!(
            "the cleanup of {} by {} {}: {}",
            run.started_at.format("%Y-%m-%d %H:%M:%SZ"),
            run.worker,
            if run.outcome == "lost" { "was lost" } else { "failed" },
            run.error.as_deref().unwrap_or("its worker went away"),
        )),
        (None, Some(waited)) => Some(format!(
            "no cleanup has run since a strike of its schedule {} ago",
            humantime::format_duration(Duration::from_secs(waited.as_secs()))
        )),
        (None, None) => None,
    };
    Standing { last_success, overdue: waited.unwrap_or_default(), fault }
}

/// Whether a run holds its lease now.
fn is_running(runs: &[upkeep_run::Model], now: DateTime<Utc>) -> bool {
    runs.iter().any(|run| run.outcome == "running" && run.lease_until > now)
}

/// The first strike after `from` that lies in the window.
fn strike_after(settings: &CleanupSettings, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let strike = schedule::next_strike(&settings.schedule, from).ok()?;
    if schedule::within(settings.window, strike) {
        return Some(strike);
    }
    let (opens, _) = settings.window?;
    // The window's next opening; a strike at that very moment counts. A schedule that never strikes in its
    // window is never late.
    let today = strike.date_naive().and_time(opens).and_utc();
    let opening = if today >= strike { today } else { today + chrono::Days::new(1) };
    let strike =
        schedule::next_strike(&settings.schedule, opening - chrono::TimeDelta::seconds(1)).ok()?;
    schedule::within(settings.window, strike).then_some(strike)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-23T{time}Z").parse().expect("a time")
    }

    fn settings(window: Option<(&str, &str)>) -> CleanupSettings {
        let time = |text: &str| text.parse().expect("a time of day");
        CleanupSettings {
            schedule: "0 */5 * * * *".to_owned(),
            batch: 1000,
            pause: Duration::ZERO,
            max_run: Duration::from_secs(300),
            window: window.map(|(from, until)| (time(from), time(until))),
        }
    }

    fn run(outcome: &str, started: &str) -> upkeep_run::Model {
        let started_at = at(started);
        upkeep_run::Model {
            id: Uuid::nil(),
            chore: "cleanup".to_owned(),
            worker: "w".to_owned(),
            started_at,
            lease_until: started_at,
            finished_at: (outcome != "running").then_some(started_at),
            outcome: outcome.to_owned(),
            events: 0,
            bodies: 0,
            rejections: 0,
            error: (outcome == "failed").then(|| "disk full".to_owned()),
        }
    }

    fn judged(runs: &[upkeep_run::Model], now: &str) -> Standing {
        judge(&settings(None), runs, at("10:00:00"), at(now))
    }

    #[test]
    fn a_daemon_that_just_began_is_not_late() {
        assert_eq!(judged(&[], "10:07:00"), Standing::default());
        assert_eq!(judged(&[run("done", "03:00:00")], "10:04:00").overdue, Duration::ZERO);
    }

    #[test]
    fn a_strike_that_nobody_serves_is_overdue_from_the_strike_on() {
        let late = judged(&[run("done", "10:05:00")], "10:14:00");
        assert_eq!(late.overdue, Duration::from_secs(240));
        assert!(late.fault.is_some_and(|fault| fault.contains("4m ago")));
        assert_eq!(late.last_success, Some(at("10:05:00")));
        assert_eq!(judged(&[run("running", "10:10:00")], "10:14:00").overdue, Duration::ZERO);
        let long = upkeep_run::Model { lease_until: at("10:31:00"), ..run("running", "10:10:00") };
        assert_eq!(
            judged(std::slice::from_ref(&long), "10:30:00").overdue,
            Duration::ZERO,
            "it is at work"
        );
        assert_ne!(
            judged(&[long], "10:32:00").overdue,
            Duration::ZERO,
            "it holds its lease no more"
        );
        assert_eq!(judged(&[run("partial", "10:10:00")], "10:14:00").fault, None);
    }

    #[test]
    fn a_failed_run_serves_nobody_and_is_told() {
        let runs = [run("failed", "10:10:00"), run("done", "10:05:00")];
        let failed = judged(&runs, "10:11:00");
        assert_eq!(failed.overdue, Duration::ZERO);
        let fault = failed.fault.expect("a fault");
        assert!(fault.contains("failed: disk full") && fault.contains("10:10:00Z by w"), "{fault}");
        assert_eq!(judged(&runs, "10:20:00").overdue, Duration::from_secs(600));
        let lost = judged(&[run("lost", "10:10:00")], "10:11:00").fault.expect("a fault");
        assert!(lost.contains("was lost: its worker went away"), "{lost}");
    }

    #[test]
    fn strikes_outside_of_the_window_wait_for_nobody() {
        let night = settings(Some(("01:00:00", "05:00:00")));
        let since = at("00:30:00");
        let calm = |now: &str| judge(&night, &[], since, at(now)).overdue;
        assert_eq!(calm("00:59:00"), Duration::ZERO);
        assert_eq!(calm("01:10:00"), Duration::from_secs(600));
        let by_day = judge(&night, &[run("done", "04:55:00")], since, at("23:59:00"));
        assert_eq!(by_day.overdue, Duration::ZERO, "the next strike is tomorrow's");
    }
}
