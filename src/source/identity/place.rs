//! The places where an id or a type may be, as they are written.

use std::fmt;

use crate::verify::field::Field;
use crate::verify::json::Pointer;

/// Where an id or a type may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Place {
    /// A pointer into the JSON body: its position among the reader's, and its text.
    Body(usize, String),
    /// A header, a query parameter, a form's field.
    Field(Field),
    /// The id that the accepting scheme signed; with how it is called in messages.
    Signed(String),
    /// Several, joined.
    Concat(Vec<Place>),
    /// The body's SHA-256.
    BodyHash,
    /// No id: never deduped.
    Never,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(_, pointer) => write!(f, "body:{pointer}"),
            Self::Field(field) => write!(f, "{field}"),
            Self::Signed(fields) => f.write_str(fields),
            Self::Concat(parts) => {
                f.write_str("concat(")?;
                for (i, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::BodyHash => f.write_str("sha256(body)"),
            Self::Never => f.write_str("none"),
        }
    }
}

/// Reads `texts`, adding the pointers that they name to `pointers`. One error for each bad text.
pub(in crate::source) fn parse_places(
    texts: &[String],
    signed: &str,
    pointers: &mut Vec<Pointer>,
) -> Result<Vec<Place>, Vec<String>> {
    let mut places = Vec::new();
    let mut faults = Vec::new();
    for text in texts {
        match parse(text, signed, pointers) {
            Ok(place) => places.push(place),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(places) } else { Err(faults) }
}

fn parse(text: &str, signed: &str, pointers: &mut Vec<Pointer>) -> Result<Place, String> {
    let text = text.trim();
    match text {
        "none" => return Ok(Place::Never),
        "sha256(body)" => return Ok(Place::BodyHash),
        "signed" if signed.is_empty() => {
            return Err("`signed` needs a scheme that signs an id: give `verify.id`".to_owned());
        }
        "signed" => return Ok(Place::Signed(signed.to_owned())),
        _ => {}
    }
    if let Some(inside) = text.strip_prefix("concat(").and_then(|rest| rest.strip_suffix(')')) {
        let parts: Result<Vec<Place>, String> = inside
            .split(',')
            .map(|part| match parse(part, signed, pointers)? {
                Place::Never | Place::Concat(_) => {
                    Err(format!("`{}` can't stand inside of concat(…)", part.trim()))
                }
                place => Ok(place),
            })
            .collect();
        return parts.map(Place::Concat);
    }
    match Field::parse(text) {
        Ok(Field::Body(pointer)) => {
            let name = pointer.as_str().to_owned();
            let known = pointers.iter().position(|other| *other == pointer);
            let index = known.unwrap_or_else(|| {
                pointers.push(pointer);
                pointers.len() - 1
            });
            Ok(Place::Body(index, name))
        }
        Ok(field) => Ok(Place::Field(field)),
        Err(_) if text.starts_with("claim:") => Err(format!("`{text}` is not built yet")),
        Err(fault) => Err(format!("{fault}, or signed, concat(place, place), sha256(body), none")),
    }
}

impl Place {
    /// Every place that it reads, itself or its parts.
    pub(in crate::source) fn leaves(&self) -> Vec<&Place> {
        match self {
            Self::Concat(parts) => parts.iter().flat_map(Self::leaves).collect(),
            other => vec![other],
        }
    }
}
