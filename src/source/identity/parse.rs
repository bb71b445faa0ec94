//! Reads places as they are written.

use super::place::{KeyPattern, Place};
use super::xml::XmlPath;
use crate::verify::field::Field;
use crate::verify::json::Pointer;

/// What places look for, each thing once.
#[derive(Debug, Clone, Default)]
pub(in crate::source) struct Targets {
    /// In the whole JSON body.
    pub(in crate::source) body: Vec<Pointer>,
    /// In one part of a batch.
    pub(in crate::source) item: Vec<Pointer>,
    /// Elements of an XML body.
    pub(in crate::source) xml: Vec<XmlPath>,
}

/// Reads `texts`, adding what they look for to `targets`. One error for each bad text.
pub(in crate::source) fn parse_places(
    texts: &[String],
    signed: &str,
    targets: &mut Targets,
) -> Result<Vec<Place>, Vec<String>> {
    let mut places = Vec::new();
    let mut faults = Vec::new();
    for text in texts {
        match parse(text, signed, targets) {
            Ok(place) => places.push(place),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(places) } else { Err(faults) }
}

fn parse(text: &str, signed: &str, targets: &mut Targets) -> Result<Place, String> {
    let text = text.trim();
    match text {
        "none" => return Ok(Place::Never),
        "sha256(body)" => return Ok(Place::BodyHash),
        "sha256(signed)" => return Ok(Place::CoveredHash),
        "sha256(item)" => return Ok(Place::ItemHash),
        "signed" if signed.is_empty() => {
            return Err("`signed` needs a scheme that signs an id: give `verify.id`".to_owned());
        }
        "signed" => return Ok(Place::Signed(signed.to_owned())),
        _ => {}
    }
    if let Some(inside) = inside_of("concat", text) {
        return parse_list("concat", inside, signed, targets).map(Place::Concat);
    }
    if let Some(inside) = inside_of("dotted", text) {
        return parse_list("dotted", inside, signed, targets).map(Place::Dotted);
    }
    match text.split_once(':') {
        Some(("item", pointer)) => {
            let pointer = Pointer::parse(pointer)?;
            let text = pointer.as_str().to_owned();
            Ok(Place::Item(position(&mut targets.item, pointer), text))
        }
        Some(("xml", path)) => {
            let path = XmlPath::parse(path)?;
            let text = path.to_string();
            Ok(Place::Xml(position(&mut targets.xml, path), text))
        }
        Some(("claim" | "key", "" | "!")) => Err(format!("`{text}` names nothing")),
        Some(("claim", name)) => Ok(Place::Claim(name.to_owned())),
        Some(("key", pattern)) => {
            let (glob, negated) = match pattern.strip_prefix('!') {
                Some(glob) => (glob, true),
                None => (pattern, false),
            };
            Ok(Place::Key(KeyPattern { glob: glob.to_owned(), negated }))
        }
        _ => parse_field(text, targets),
    }
}

fn inside_of<'a>(word: &str, text: &'a str) -> Option<&'a str> {
    text.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')
}

fn parse_list(
    word: &str,
    inside: &str,
    signed: &str,
    targets: &mut Targets,
) -> Result<Vec<Place>, String> {
    inside
        .split(',')
        .map(|part| match parse(part, signed, targets)? {
            Place::Never | Place::Concat(_) | Place::Dotted(_) => {
                Err(format!("`{}` can't stand inside of {word}(…)", part.trim()))
            }
            place => Ok(place),
        })
        .collect()
}

fn parse_field(text: &str, targets: &mut Targets) -> Result<Place, String> {
    match Field::parse(text) {
        Ok(Field::Body(pointer)) => {
            let text = pointer.as_str().to_owned();
            Ok(Place::Body(position(&mut targets.body, pointer), text))
        }
        Ok(field) => Ok(Place::Field(field)),
        Err(fault) => Err(format!(
            "{fault}, item:/pointer, xml:/root/name, claim:NAME, signed, concat(place, place), sha256(body), sha256(signed), sha256(item), none"
        )),
    }
}

/// Where `target` stands among `known`; it is added when it is new.
fn position<T: PartialEq>(known: &mut Vec<T>, target: T) -> usize {
    known.iter().position(|other| *other == target).unwrap_or_else(|| {
        known.push(target);
        known.len() - 1
    })
}
