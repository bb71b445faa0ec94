//! The places where an id or a type may be.

use std::fmt;

use crate::verify::field::Field;

/// Where an id or a type may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Place {
    /// A pointer into the whole JSON body: its position among the reader's, and its text.
    Body(usize, String),
    /// A pointer into one part of a batch: its position among the reader's, and its text.
    Item(usize, String),
    /// The text of an element: its position among the reader's paths, and the path.
    Xml(usize, String),
    /// A header, a query parameter, a form's field.
    Field(Field),
    /// A claim of the verified JSON Web Token.
    Claim(String),
    /// The id that the accepting scheme signed; with how it is called in messages.
    Signed(String),
    /// Several, joined by `:`.
    Concat(Vec<Place>),
    /// What there is of several, joined by `.`.
    Dotted(Vec<Place>),
    /// The first key of the JSON object, or of the part, that fits.
    Key(KeyPattern),
    /// The body's SHA-256.
    BodyHash,
    /// The SHA-256 of what the signature covers.
    CoveredHash,
    /// The SHA-256 of one part of a batch.
    ItemHash,
    /// No id: never deduped.
    Never,
}

/// Which key of an object is meant: `*` stands for any run of characters, all others for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct KeyPattern {
    /// The pattern, without its `!`.
    pub(super) glob: String,
    /// Whether the key is meant that doesn't fit.
    pub(super) negated: bool,
}

impl KeyPattern {
    /// Whether this is the key that is meant.
    pub(super) fn fits(&self, key: &str) -> bool {
        matches(&self.glob, key) != self.negated
    }
}

/// Whether all of `text` fits. Each part between two stars is looked for from where the one before it
/// ended, so that it takes no longer than the text is.
fn matches(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else {
        return false;
    };
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(_, pointer) => write!(f, "body:{pointer}"),
            Self::Item(_, pointer) => write!(f, "item:{pointer}"),
            Self::Xml(_, path) => write!(f, "xml:{path}"),
            Self::Field(field) => write!(f, "{field}"),
            Self::Claim(name) => write!(f, "claim:{name}"),
            Self::Signed(fields) => f.write_str(fields),
            Self::Concat(parts) => list(f, "concat", parts),
            Self::Dotted(parts) => list(f, "dotted", parts),
            Self::Key(KeyPattern { glob, negated }) => {
                write!(f, "key:{}{glob}", if *negated { "!" } else { "" })
            }
            Self::BodyHash => f.write_str("sha256(body)"),
            Self::CoveredHash => f.write_str("sha256(signed)"),
            Self::ItemHash => f.write_str("sha256(item)"),
            Self::Never => f.write_str("none"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, word: &str, parts: &[Place]) -> fmt::Result {
    write!(f, "{word}(")?;
    for (i, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str(")")
}

impl Place {
    /// Every place that it reads, itself or its parts.
    pub(in crate::source) fn leaves(&self) -> Vec<&Place> {
        match self {
            Self::Concat(parts) | Self::Dotted(parts) => {
                parts.iter().flat_map(Self::leaves).collect()
            }
            other => vec![other],
        }
    }

    /// Whether it can differ between two parts of one request. An id that can't would make the second
    /// part a copy of the first.
    pub(in crate::source) fn is_of_item(&self) -> bool {
        match self {
            Self::Item(..) | Self::ItemHash | Self::Never => true,
            Self::Concat(parts) => parts.iter().any(Self::is_of_item),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_key() {
        for (glob, fits, fails) in [
            ("*_events", &["tweet_create_events", "_events"][..], &["events", "x_events_"][..]),
            ("a*b*c", &["abc", "a-b-c", "abbcbc"], &["ab", "ac", "abcd", "aXc"]),
            ("same", &["same"], &["same2", "Same", ""]),
            ("*", &["", "x"], &[]),
            ("a*a", &["aa", "aba"], &["a"]),
            ("**", &["", "é"], &[]),
        ] {
            for key in fits {
                assert!(matches(glob, key), "{glob} {key}");
            }
            for key in fails {
                assert!(!matches(glob, key), "{glob} {key}");
            }
        }
        let other = KeyPattern { glob: "update_id".to_owned(), negated: true };
        assert!(other.fits("message") && !other.fits("update_id"));
    }
}
