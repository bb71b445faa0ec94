//! Compiles `event.format`, and finds what it must be.

use super::super::super::identity::{Format, Place, Split};
use super::super::super::spec::Texts;
use super::super::Faults;
use super::Field;
use crate::verify::field::FormKind;

/// What reads the body.
pub(super) struct Shape<'a> {
    pub(super) id: &'a [Place],
    pub(super) kind: &'a [Place],
    pub(super) split: Option<&'a Split>,
}

/// What places need the body to be.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Needs {
    json: bool,
    /// JSON, or lines of it.
    item: bool,
    form: bool,
    part: bool,
    xml: bool,
}

fn needs(places: &[Place]) -> Needs {
    let mut needs = Needs::default();
    for leaf in places.iter().flat_map(Place::leaves) {
        match leaf {
            Place::Body(..) => needs.json = true,
            Place::Item(..) | Place::Key(_) => needs.item = true,
            Place::Field(Field::Form(kind, _) | Field::FormJson(kind, ..)) => match kind {
                FormKind::Pairs => needs.form = true,
                FormKind::Parts => needs.part = true,
            },
            Place::Xml(..) => needs.xml = true,
            _ => {}
        }
    }
    needs
}

/// The formats that are written, or those that the rest asks for.
pub(super) fn compile(
    written: Option<&Texts>,
    shape: &Shape<'_>,
    ignores: bool,
    faults: &mut Faults,
) -> Vec<Format> {
    let (of_id, of_kind) = (needs(shape.id), needs(shape.kind));
    let lines = shape.split.is_some_and(|split| split.lines);
    let parts = shape.split.is_some_and(|split| !split.selectors.is_empty());
    let Some(written) = written else {
        let json = of_id.json || of_kind.json || ignores || parts;
        let item = (of_id.item || of_kind.item) && !lines;
        let mut formats = Vec::new();
        formats.extend((json || item).then_some(Format::Json));
        formats.extend(lines.then_some(Format::Ndjson));
        // Before forms: nearly any text is one of those.
        formats.extend((of_id.part || of_kind.part).then_some(Format::Multipart));
        formats.extend((of_id.form || of_kind.form).then_some(Format::Form));
        formats.extend((of_id.xml || of_kind.xml).then_some(Format::Xml));
        // What the id needs is declared by that. For a type alone a body is read when it can be: the
        // event is authentic and has its id, whatever its body is.
        if of_id == Needs::default() && shape.split.is_none() && !formats.is_empty() {
            formats.push(Format::Raw);
        }
        return formats;
    };
    let parsed = parse(written, faults);
    if parsed.is_empty() {
        return parsed;
    }
    let json = parsed.iter().any(|it| matches!(it, Format::Json | Format::FormField(_)));
    let ndjson = parsed.contains(&Format::Ndjson);
    let xml = parsed.iter().any(|it| matches!(it, Format::Xml | Format::Base64Xml(_)));
    let mut demand = |wanted: bool, given: bool, path: &str, fault: &str| {
        if wanted && !given {
            faults.push(path, fault);
        }
    };
    let format = "event.format";
    demand(
        of_id.json || of_kind.json,
        json,
        format,
        "a `body:` place needs `json` or `form_field(NAME)`",
    );
    demand(
        of_id.item || of_kind.item,
        json || ndjson,
        format,
        "an `item:` or `key:` place needs `json`, `form_field(NAME)` or `ndjson`",
    );
    demand(parts, json, format, "a pointer in `split` needs `json` or `form_field(NAME)`");
    demand(lines, ndjson, format, "`split = \"ndjson\"` needs `ndjson`");
    demand(
        of_id.form || of_kind.form,
        parsed.contains(&Format::Form),
        format,
        "a `form:` place needs `form`",
    );
    demand(
        of_id.part || of_kind.part,
        parsed.contains(&Format::Multipart),
        format,
        "a `part:` place needs `multipart`",
    );
    demand(
        of_id.xml || of_kind.xml,
        xml,
        format,
        "an `xml:` place needs `xml` or `base64_xml(NAME)`",
    );
    demand(
        ignores,
        parsed.contains(&Format::Json) || shape.split.is_some(),
        "conflict_ignore",
        "has no effect: the event's format is not `json`",
    );
    parsed
}

fn parse(written: &Texts, faults: &mut Faults) -> Vec<Format> {
    let mut parsed = Vec::new();
    for text in written.as_slice() {
        let named = |word: &str| {
            let name = text.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        let format = match text.as_str() {
            "json" => Format::Json,
            "ndjson" => Format::Ndjson,
            "form" => Format::Form,
            "multipart" => Format::Multipart,
            "xml" => Format::Xml,
            "text" => Format::Text,
            "raw" => Format::Raw,
            "empty" => Format::Empty,
            _ => match (named("form_field"), named("base64_xml")) {
                (Some(name), _) => Format::FormField(name),
                (None, Some(name)) => Format::Base64Xml(name),
                (None, None) => {
                    let fault = format!(
                        "`{text}` is not a format: write json, ndjson, form, multipart, form_field(NAME), xml, base64_xml(NAME), text, raw or empty"
                    );
                    faults.push("event.format", fault);
                    continue;
                }
            },
        };
        parsed.push(format);
    }
    parsed
}
