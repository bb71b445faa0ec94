//! Compiles `event` and `conflict_ignore`.

use super::super::identity::{Format, Place, Reader, parse_places};
use super::super::spec::{EventSpec, Texts};
use super::Faults;
use crate::verify::field::Field;
use crate::verify::json::{POINTERS_MAX, Pointer};
use crate::verify::scheme::Scheme;

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
            ("split", spec.split.is_some()),
            ("empty_ok", spec.empty_ok.is_some()),
        ],
    );
    let mut pointers = Vec::new();
    let signed = signed_name(scheme);
    let id = places(spec.id.as_ref(), "event.id", &signed, &mut pointers, faults);
    if spec.id.as_ref().is_none_or(|id| id.as_slice().is_empty()) {
        faults.push(
            "event.id",
            "is missing: say where the id is, such as \"body:/id\" or \"header:x-id\"; without one, write \"sha256(body)\", or \"none\" to never dedupe",
        );
    }
    check_order(&id, faults);
    let kind = places(spec.kind.as_ref(), "event.type", &signed, &mut pointers, faults);
    if kind.iter().any(|place| matches!(place, Place::Never)) {
        faults.push("event.type", "`none` has no meaning here: leave the type out");
    }
    let identifying = pointers.len();
    let mut ignored = Vec::new();
    for text in ignore {
        ignored.extend(faults.take("conflict_ignore", Pointer::parse(text)));
    }
    let formats = formats(spec.format.as_ref(), &id, &kind, &ignored, faults);
    pointers.extend(ignored);
    if pointers.len() > POINTERS_MAX {
        faults.push("event", format!("names more than {POINTERS_MAX} JSON pointers"));
    }
    let group = group.to_owned();
    Some(Reader { formats, pointers, identifying, id, kind, group })
}

fn signed_name(scheme: Option<&Scheme>) -> String {
    let fields = scheme.map(Scheme::id_fields).unwrap_or_default();
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn places(
    texts: Option<&Texts>,
    path: &str,
    signed: &str,
    pointers: &mut Vec<Pointer>,
    faults: &mut Faults,
) -> Vec<Place> {
    match parse_places(texts.map(Texts::as_slice).unwrap_or_default(), signed, pointers) {
        Ok(places) => places,
        Err(found) => {
            found.iter().for_each(|fault| faults.push(path, fault));
            Vec::new()
        }
    }
}

fn check_order(id: &[Place], faults: &mut Faults) {
    let always = |place: &Place| matches!(place, Place::BodyHash | Place::Never);
    if let Some(at) = id.iter().position(always)
        && at + 1 < id.len()
    {
        let fault = format!("{} always gives an id: nothing after it is ever tried", id[at]);
        faults.push("event.id", fault);
    }
}

/// What places need the body to be.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Needs {
    json: bool,
    form: bool,
}

fn needs(places: &[Place]) -> Needs {
    let mut needs = Needs::default();
    for leaf in places.iter().flat_map(Place::leaves) {
        match leaf {
            Place::Body(..) => needs.json = true,
            Place::Field(Field::Form(_) | Field::FormJson(..)) => needs.form = true,
            _ => {}
        }
    }
    needs
}

fn formats(
    written: Option<&Texts>,
    id: &[Place],
    kind: &[Place],
    ignored: &[Pointer],
    faults: &mut Faults,
) -> Vec<Format> {
    let of_id = needs(id);
    let of_all = needs(kind);
    let json = of_id.json || of_all.json || !ignored.is_empty();
    let form = of_id.form || of_all.form;
    let Some(written) = written else {
        let mut formats = Vec::new();
        formats.extend(json.then_some(Format::Json));
        formats.extend(form.then_some(Format::Form));
        // What the id needs is declared by that. For a type alone a body is read when it can be: the
        // event is authentic and has its id, whatever its body is.
        if of_id == Needs::default() && !formats.is_empty() {
            formats.push(Format::Raw);
        }
        return formats;
    };
    let parsed = parse_formats(written, faults);
    let gives_json = |format: &Format| matches!(format, Format::Json | Format::FormField(_));
    if parsed.is_empty() {
        return parsed;
    }
    if (of_id.json || of_all.json) && !parsed.iter().any(gives_json) {
        faults.push("event.format", "a `body:` place needs `json` or `form_field(NAME)`");
    }
    if form && !parsed.contains(&Format::Form) {
        faults.push("event.format", "a `form:` place needs `form`");
    }
    if !ignored.is_empty() && !parsed.contains(&Format::Json) {
        faults.push("conflict_ignore", "has no effect: the event's format is not `json`");
    }
    parsed
}

fn parse_formats(written: &Texts, faults: &mut Faults) -> Vec<Format> {
    let mut parsed = Vec::new();
    for text in written.as_slice() {
        let field = text.strip_prefix("form_field(").and_then(|rest| rest.strip_suffix(')'));
        let format = match (text.as_str(), field) {
            (_, Some(name)) if !name.is_empty() => Format::FormField(name.to_owned()),
            ("json", _) => Format::Json,
            ("form", _) => Format::Form,
            ("text", _) => Format::Text,
            ("raw", _) => Format::Raw,
            ("ndjson" | "xml" | "base64_xml", _) => {
                faults.push("event.format", format!("`{text}` is not built yet"));
                continue;
            }
            _ => {
                let fault = format!(
                    "`{text}` is not a format: write json, form, form_field(NAME), text or raw"
                );
                faults.push("event.format", fault);
                continue;
            }
        };
        parsed.push(format);
    }
    parsed
}
