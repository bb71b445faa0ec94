//! Values that stand in another place than they should: the signature, the time, the id, what else is
//! signed.

use chrono::Datelike as _;

use super::Cause;
use super::line::{readings, texts, with};
use super::search::{Case, Change, Flow, Search, Visit};
use crate::verify::field::Field;
use crate::verify::freshness::Unit;
use crate::verify::signature::Grammar;
use crate::verify::signed::From;

/// Headers of a request that are looked at.
const HEADERS_MAX: usize = 64;

/// A longer value is no time, id or signature.
const VALUE_MAX: usize = 1024;

/// The request's headers with short values of text.
pub(super) fn values(case: &Case) -> Vec<(String, String)> {
    case.received
        .headers
        .iter()
        .take(HEADERS_MAX)
        .filter(|(_, value)| !value.is_empty() && value.len() <= VALUE_MAX)
        .filter_map(|(name, value)| {
            Some((name.to_owned(), std::str::from_utf8(value).ok()?.to_owned()))
        })
        .collect()
}

/// In which a webhook may have been signed.
const YEARS: std::ops::Range<i32> = 2000..2200;

const UNITS: [Unit; 3] = [Unit::Seconds, Unit::Millis, Unit::Rfc3339];

/// Whether a text is a time, in whatever unit; a number of a few digits is none.
pub(super) fn is_time(text: &str) -> bool {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    (digits && matches!(text.len(), 10 | 13))
        || (!digits && Unit::Rfc3339.parse(text.as_bytes()).is_ok())
}

/// The timestamp, in another header or another form.
pub(super) fn time(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let Some(clock) = case.scheme.clock.as_ref().filter(|clock| clock.signed) else {
        return Flow::Continue(());
    };
    for unit in UNITS.into_iter().filter(|unit| *unit != clock.unit) {
        let mut changed = case.clone();
        set_clock(&mut changed, |clock| clock.unit = unit);
        // Any number is a time in any unit: one of other centuries is none.
        let time = changed.scheme.signed_time(&changed.received);
        if !time.is_some_and(|time| YEARS.contains(&time.year())) {
            continue;
        }
        let said = format!("authentic, but its timestamp is {unit}: set `timestamp.unit`");
        visit(search, changed, Change::new(Cause::TimeUnit, said))?;
    }
    let mut unjudged = case.clone();
    set_clock(&mut unjudged, |clock| clock.signed = false);
    let said = format!(
        "authentic, but its timestamp is not {}: see what the provider sends there",
        clock.unit
    );
    visit(search, unjudged, Change::new(Cause::TimeFormat, said))?;
    for (name, value) in values(case).into_iter().filter(|(_, value)| is_time(value)) {
        let place = clock.from.as_ref().map_or(case.scheme.from.to_string(), ToString::to_string);
        let said = format!(
            "authentic, but its timestamp stands in header:{name} and not in {place}: set `timestamp.from`, and ask who renames it"
        );
        let mut changed = case.clone();
        match &clock.from {
            Some(field) if field.put(&mut changed.received, &value).is_err() => continue,
            Some(_) => {}
            None => set_clock(&mut changed, |clock| clock.from = Some(Field::Header(name.clone()))),
        }
        for unit in [clock.unit].into_iter().chain(UNITS) {
            set_clock(&mut changed, |clock| clock.unit = unit);
            visit(search, changed.clone(), Change::new(Cause::TimeHeader, said.clone()))?;
        }
    }
    Flow::Continue(())
}

fn set_clock(case: &mut Case, set: impl FnOnce(&mut crate::verify::freshness::Clock)) {
    if let Some(clock) = &mut case.scheme.clock {
        set(clock);
    }
}

/// The id, and headers that are signed, under another name.
pub(super) fn covered(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let is_missing = |field: &Field| {
        matches!(field, Field::Header(_))
            && !field.read(&case.received).is_ok_and(|v| v.is_some_and(|v| !v.is_empty()))
    };
    let id = case.scheme.id.iter().map(|field| (field.clone(), Cause::IdHeader));
    let others = case.scheme.content.fields().into_iter();
    let others = others.map(|field| (field.clone(), Cause::CoveredHeader));
    let mut missing: Vec<(Field, Cause)> =
        id.chain(others).filter(|(field, _)| is_missing(field)).collect();
    missing.dedup_by(|one, other| one.0 == other.0);
    for (field, cause) in missing {
        for (name, value) in values(case) {
            let mut changed = case.clone();
            if field.put(&mut changed.received, &value).is_err() {
                continue;
            }
            let said = format!(
                "authentic, but what {field} should hold stands in header:{name}: correct the source's settings, or ask who renames it"
            );
            visit(search, changed, Change::new(cause, said))?;
        }
    }
    Flow::Continue(())
}

/// The signature in another header, or in another form.
pub(super) fn places(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let From::Field(wanted) = &case.scheme.from else { return Flow::Continue(()) };
    let own = texts(case).into_iter().map(|text| (None, text));
    let others = values(case).into_iter().map(|(name, text)| (Some(name), text));
    for (name, text) in own.chain(others) {
        if let Some(name) = &name {
            if *wanted == Field::Header(name.clone()) || tokens(&text).is_empty() {
                continue;
            }
            let said = format!(
                "the right signature stands in header:{name}, and this source looks in {wanted}: set `signature.from`, and ask who renames it"
            );
            if let Some(changed) = with(case, &text) {
                visit(search, changed, Change::new(Cause::SignatureHeader, said))?;
            }
        }
        forms(case, name.as_deref(), &text, search, visit)?;
    }
    Flow::Continue(())
}

/// Each part of a text that can be a signature, written as the source wants it.
fn forms(
    case: &Case,
    header: Option<&str>,
    text: &str,
    search: &mut Search<'_>,
    visit: &mut Visit<'_>,
) -> Flow {
    let ts = time_in(text);
    let Some(encoding) = case.scheme.encodings.first() else { return Flow::Continue(()) };
    let wanted = &case.scheme.from;
    let change = || match header {
        Some(name) => Change::new(
            Cause::SignatureHeader,
            format!(
                "the right signature stands in header:{name}, written in another way, and this source looks in {wanted}: is this the right preset?"
            ),
        ),
        None => Change::new(
            Cause::SignatureFormat,
            format!(
                "the right signature stands in {wanted}, but written in another way than `{}`: see `signature.grammar`",
                case.scheme.grammar.wanted()
            ),
        ),
    };
    let key = case.scheme.keys.first().and_then(|key| key.id.as_deref());
    for bytes in tokens(text) {
        let encoded = encoding.encode(&bytes);
        let line = case.scheme.grammar.write(&encoded, ts.as_deref(), key);
        if line == text && header.is_none() {
            continue;
        }
        if let Some(changed) = with(case, &line) {
            visit(search, changed, change())?;
        }
        // Without the time in the line, the scheme's own can stand in a header.
        if case.scheme.grammar.holds_timestamp() && ts.is_none() {
            bare(case, &encoded, search, visit, &change)?;
        }
    }
    Flow::Continue(())
}

fn bare(
    case: &Case,
    encoded: &str,
    search: &mut Search<'_>,
    visit: &mut Visit<'_>,
    change: &dyn Fn() -> Change,
) -> Flow {
    for (name, _) in values(case).into_iter().filter(|(_, value)| is_time(value)) {
        let Some(mut changed) = with(case, encoded) else { continue };
        changed.scheme.grammar = Grammar::Plain { prefix: String::new() };
        set_clock(&mut changed, |clock| clock.from = Some(Field::Header(name)));
        visit(search, changed, change())?;
    }
    Flow::Continue(())
}

const SEPARATORS: [char; 6] = [',', ';', '&', ' ', '|', '.'];

/// The bytes of each part of a text that can be a signature.
fn tokens(text: &str) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for part in text.split(SEPARATORS) {
        let after = part.split_once('=').map_or("", |(_, after)| after);
        for token in [part, after] {
            let token = token.trim_matches(['"', '\'']);
            for (_, bytes) in readings(token) {
                if !found.contains(&bytes) {
                    found.push(bytes);
                }
            }
        }
    }
    found.truncate(8);
    found
}

/// The time that stands in a text beside a signature.
fn time_in(text: &str) -> Option<String> {
    text.split(SEPARATORS)
        .map(|part| part.split_once('=').map_or(part, |(_, after)| after))
        .find(|part| is_time(part))
        .map(str::to_owned)
}
