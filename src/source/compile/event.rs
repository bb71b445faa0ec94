//! Compiles `event` and `conflict_ignore`.

use std::sync::Arc;

use super::super::identity::{Place, Reader, Split, Targets, parse_places};
use super::super::spec::{EventSpec, Texts};
use super::Faults;
use crate::verify::field::Field;
use crate::verify::json::select::Selector;
use crate::verify::json::{POINTERS_MAX, Pointer};
use crate::verify::scheme::Scheme;

mod format;

/// Compiles the reader of identities.
pub(super) fn compile(
    spec: &EventSpec,
    scheme: Option<&Scheme>,
    group: &str,
    ignore: &[String],
    faults: &mut Faults,
) -> Option<Reader> {
    faults.unbuilt(
        "event",
        &[
            ("time", spec.time.is_some()),
            ("attempt", spec.attempt.is_some()),
            ("tenant", spec.tenant.is_some()),
        ],
    );
    let mut targets = Targets::default();
    let signed = signed_name(scheme);
    let id = places(spec.id.as_ref(), "event.id", &signed, &mut targets, faults);
    if spec.id.as_ref().is_none_or(|id| id.as_slice().is_empty()) {
        faults.push(
            "event.id",
            "is missing: say where the id is, such as \"body:/id\" or \"header:x-id\"; without one, write \"sha256(body)\", or \"none\" to never dedupe",
        );
    }
    check_order(&id, faults);
    if id.iter().any(|place| matches!(place, Place::Dotted(_) | Place::Key(_))) {
        faults.push("event.id", "dotted(…) and key:… are for types only: two ids could look alike");
    }
    let kind = places(spec.kind.as_ref(), "event.type", &signed, &mut targets, faults);
    if kind.iter().any(|place| matches!(place, Place::Never)) {
        faults.push("event.type", "`none` has no meaning here: leave the type out");
    }
    let split = split(spec, faults);
    check_items(split.as_ref(), &id, &kind, faults);
    let Targets { body: mut pointers, item, xml } = targets;
    let identifying = pointers.len();
    let mut ignored = Vec::new();
    for text in ignore {
        ignored.extend(faults.take("conflict_ignore", Pointer::parse(text)));
    }
    let shape = format::Shape { id: &id, kind: &kind, split: split.as_ref() };
    let formats = format::compile(spec.format.as_ref(), &shape, !ignored.is_empty(), faults);
    pointers.extend(ignored);
    if pointers.len() > POINTERS_MAX || item.len() > POINTERS_MAX {
        faults.push("event", format!("names more than {POINTERS_MAX} JSON pointers"));
    }
    let group = Arc::from(group);
    Some(Reader {
        formats,
        pointers,
        identifying,
        item,
        xml,
        split,
        id,
        kind,
        group,
        on_replay: None,
        asks_what_is_covered: false,
    })
}

fn signed_name(scheme: Option<&Scheme>) -> String {
    let fields = scheme.map(Scheme::id_fields).unwrap_or_default();
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn places(
    texts: Option<&Texts>,
    path: &str,
    signed: &str,
    targets: &mut Targets,
    faults: &mut Faults,
) -> Vec<Place> {
    match parse_places(texts.map(Texts::as_slice).unwrap_or_default(), signed, targets) {
        Ok(places) => places,
        Err(found) => {
            found.iter().for_each(|fault| faults.push(path, fault));
            Vec::new()
        }
    }
}

fn check_order(id: &[Place], faults: &mut Faults) {
    let always = |place: &Place| matches!(place, Place::BodyHash | Place::ItemHash | Place::Never);
    if let Some(at) = id.iter().position(always)
        && at + 1 < id.len()
    {
        let fault = format!("{} always gives an id: nothing after it is ever tried", id[at]);
        faults.push("event.id", fault);
    }
}

fn split(spec: &EventSpec, faults: &mut Faults) -> Option<Split> {
    let Some(written) = &spec.split else {
        if spec.empty_ok.is_some() {
            faults.push("event.empty_ok", "has no effect without `split`");
        }
        return None;
    };
    let mut split =
        Split { selectors: Vec::new(), lines: false, empty_ok: spec.empty_ok == Some(true) };
    if written.as_slice().is_empty() {
        faults.push("event.split", "is empty: leave it out when each request is one event");
    }
    for text in written.as_slice() {
        if text == "ndjson" {
            split.lines = true;
        } else {
            split.selectors.extend(faults.take("event.split", Selector::parse(text)));
        }
    }
    Some(split)
}

/// `item:` needs parts, and parts need ids that differ.
fn check_items(split: Option<&Split>, id: &[Place], kind: &[Place], faults: &mut Faults) {
    let of_item = |place: &Place| matches!(place, Place::Item(..) | Place::ItemHash);
    match split {
        None => {
            for (path, places) in [("event.id", id), ("event.type", kind)] {
                if let Some(place) = places.iter().flat_map(Place::leaves).find(|l| of_item(l)) {
                    faults.push(path, format!("{place} needs `split`: there are no parts"));
                }
            }
        }
        Some(_) if !id.is_empty() && !id.iter().any(Place::is_of_item) => faults.push(
            "event.id",
            "would be the same for every event of a batch: write item:/pointer, sha256(item), or none",
        ),
        Some(_) => {}
    }
}
