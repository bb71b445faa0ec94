//! Compiles `timestamp`.

use std::time::Duration;

use super::super::spec::{TimestampSpec, Unit as UnitWord};
use super::{Faults, Surroundings};
use crate::verify::field::Field;
use crate::verify::freshness::{Clock, Unit};
use crate::verify::signature::Grammar;
use crate::verify::template::Template;

/// How old a signed time may be, unless something else is written.
const TOLERANCE: Duration = Duration::from_secs(300);

/// How far ahead of our clock a signed time may be, unless something else is written.
const FUTURE: Duration = Duration::from_secs(60);

/// The scheme's clock; the outer `None` is a fault.
#[expect(clippy::option_option, reason = "no clock is an answer, and a fault is none")]
pub(super) fn clock(
    spec: Option<&TimestampSpec>,
    grammar: &Grammar,
    content: &Template,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Option<Clock>> {
    let path = format!("{path}.timestamp");
    let beside = grammar.holds_timestamp();
    let Some(spec) = spec else {
        if content.names_timestamp() || beside {
            faults.push(&path, "is missing: the scheme has a time; say how it is written, such as timestamp = { unit = \"s\" }");
            return None;
        }
        return Some(None);
    };
    let from = match &spec.from {
        Some(text) => Some(faults.take(&format!("{path}.from"), Field::parse(text))?),
        None if beside => None,
        None => {
            faults.push(&format!("{path}.from"), "is missing: say where the timestamp stands");
            return None;
        }
    };
    let covered = content.names_timestamp() || from.as_ref().is_some_and(|f| content.has_field(f));
    if !covered && spec.signed == Some(true) {
        faults.push(&format!("{path}.signed"), "the content does not hold the timestamp");
    }
    if !covered && spec.signed.is_none() {
        faults.push(&path, "the content does not hold the timestamp, so checking it would prove nothing: put {ts} into `content`, or write signed = false");
    }
    let signed = covered && spec.signed != Some(false);
    if !signed && (spec.tolerance.is_some() || spec.future.is_some()) {
        faults.push(&path, "an unsigned timestamp is not judged: remove its tolerances");
    }
    let tolerance = surroundings.tolerance.or(spec.tolerance.map(|t| t.0)).unwrap_or(TOLERANCE);
    if tolerance.is_zero() {
        faults.push(&format!("{path}.tolerance"), "0 s would refuse everything");
    }
    let unit = match spec.unit {
        None | Some(UnitWord::S) => Unit::Seconds,
        Some(UnitWord::Ms) => Unit::Millis,
        Some(UnitWord::SOrMs) => Unit::SecondsOrMillis,
        Some(UnitWord::Rfc3339) => Unit::Rfc3339,
    };
    let future = spec.future.map_or(FUTURE, |future| future.0);
    Some(Some(Clock { from, unit, tolerance, future, signed }))
}
