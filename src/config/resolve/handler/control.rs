//! What holds a handler back: its rate, its breaker, answers that pause it, and outcomes that nobody knows.

use std::time::Duration;

use crate::config::desk::Desk;
use crate::config::file::{FileHandler, FileOnUnknown};
use crate::config::value::{Pace, Text};
use crate::handler::Kind;
use crate::handler::control::{Breaker, Control};
use crate::retry::OnUnknown;

const FAILURES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(60);

/// Reads what holds a handler back.
pub(super) fn control(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileHandler,
    kind: Option<&Kind>,
) -> Control {
    Control {
        rate: file.rate.map(|Text(Pace(rate))| rate),
        breaker: file.breaker.as_ref().map(|breaker| {
            let at = ["handlers", text, "breaker", "failures"];
            let failures = desk.within(&at, breaker.failures.unwrap_or(FAILURES), 1..=1_000_000);
            let at = ["handlers", text, "breaker", "pause"];
            let pause = breaker.pause.map_or(PAUSE, |Text(span)| span);
            Breaker { failures, pause: desk.at_least(&at, pause, Duration::from_secs(1)) }
        }),
        pause_on: pause_on(desk, text, file, kind),
    }
}

fn pause_on(desk: &mut Desk<'_>, text: &str, file: &FileHandler, kind: Option<&Kind>) -> Vec<i32> {
    let (known, what) = match kind {
        Some(Kind::Http(_)) => (300..=599, "the HTTP status of a failure (300 to 599)"),
        Some(Kind::Exec(_)) => (1..=255, "the exit code of a failure (1 to 255)"),
        Some(_) if !file.pause_on.is_empty() => {
            let why = "`pause_on` lists HTTP statuses or exit codes: only for `http` and `exec`";
            desk.fault(&["handlers", text, "pause_on"], why);
            return Vec::new();
        }
        Some(_) | None => return file.pause_on.clone(),
    };
    for (at, status) in file.pause_on.iter().enumerate() {
        if !known.contains(status) {
            let path = ["handlers", text, "pause_on", &at.to_string()];
            desk.fault(&path, format!("{status} is not {what}"));
        }
    }
    file.pause_on.clone()
}

/// Reads what to do when nobody knows how a try ended.
pub(super) fn on_unknown(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileHandler,
    kind: Option<&Kind>,
) -> OnUnknown {
    if file.on_unknown.is_some() && matches!(kind, Some(Kind::Sql(_) | Kind::Log)) {
        let why = "`on_unknown` is for handlers whose work can't be undone: what this one did is always known, or does no harm twice";
        desk.fault(&["handlers", text, "on_unknown"], why);
    }
    match file.on_unknown {
        Some(FileOnUnknown::Park) => OnUnknown::Park,
        Some(FileOnUnknown::Retry) | None => OnUnknown::Retry,
    }
}
