//! Reads a statement: finds the named places and leaves alone what only looks like one, in quotes,
//! comments and casts.

use super::{Dialect, Origin, Place, Statement};
use crate::verify::json::Pointer;

/// How a statement may begin. What begins, ends or leaves the transaction is not among it: the
/// settlement stands in the same one.
const BEGINNINGS: [&str; 8] =
    ["insert", "update", "delete", "merge", "replace", "with", "select", "call"];

/// Reads a statement; pointers into the body are added to `pointers`.
pub(super) fn statement(
    text: &str,
    dialect: Dialect,
    pointers: &mut Vec<Pointer>,
) -> Result<Statement, String> {
    let mut reader = Reader { text, at: 0, dialect, piece: String::new(), word: None };
    let mut statement = Statement { pieces: Vec::new(), places: Vec::new() };
    while let Some(c) = reader.peek() {
        if reader.skip_opaque(c)? {
            continue;
        }
        match c {
            ':' => {
                if let Some(place) = reader.place(pointers)? {
                    statement.pieces.push(std::mem::take(&mut reader.piece));
                    statement.places.push(place);
                }
            }
            ';' => reader.end()?,
            _ => reader.word(c)?,
        }
    }
    statement.pieces.push(reader.piece);
    match reader.word {
        Some(word) if BEGINNINGS.contains(&word.as_str()) => Ok(statement),
        Some(word) => Err(format!(
            "a statement can't begin with `{word}`: it runs within the transaction that settles the delivery; begin with one of {}",
            BEGINNINGS.join(", ")
        )),
        None => Err("the statement is empty".to_owned()),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
    /// What was read since the last place.
    piece: String,
    /// The first word of the statement, in lower case.
    word: Option<String>,
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn before(&self) -> Option<char> {
        self.text.get(..self.at).and_then(|text| text.chars().next_back())
    }

    /// Takes this many bytes over as they are.
    fn take(&mut self, bytes: usize) {
        let taken = self.rest().get(..bytes).unwrap_or(self.rest());
        self.piece.push_str(taken);
        self.at += taken.len();
    }

    /// Takes over quotes and comments as a whole; false when none begins here.
    fn skip_opaque(&mut self, c: char) -> Result<bool, String> {
        let rest = self.rest();
        match c {
            '\'' => {
                let escapes = self.dialect == Dialect::Postgres && self.is_escape_string();
                self.quoted('\'', escapes)?;
            }
            '"' => self.quoted('"', false)?,
            '`' if self.dialect == Dialect::Sqlite => self.quoted('`', false)?,
            '[' if self.dialect == Dialect::Sqlite => {
                let end = rest.find(']').ok_or("a `[` is never closed")?;
                self.take(end + 1);
            }
            '-' if rest.starts_with("--") => {
                self.take(rest.find('\n').unwrap_or(rest.len()));
            }
            '/' if rest.starts_with("/*") => self.comment()?,
            '$' if self.dialect == Dialect::Postgres && !self.before().is_some_and(in_word) => {
                return self.dollar();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the quote here belongs to `E'…'`, where a backslash escapes.
    fn is_escape_string(&self) -> bool {
        let mut before = self.text.get(..self.at).unwrap_or_default().chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(in_word)
    }

    fn quoted(&mut self, quote: char, escapes: bool) -> Result<(), String> {
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if escapes && c == '\\' {
                chars.next();
            } else if c == quote {
                if chars.peek().is_some_and(|(_, next)| *next == quote) {
                    chars.next();
                } else {
                    self.take(at + c.len_utf8());
                    return Ok(());
                }
            }
        }
        Err(format!("a `{quote}` is never closed"))
    }

    fn comment(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let (mut depth, mut at) = (0_usize, 0);
        loop {
            let here = rest.get(at..).unwrap_or_default();
            if here.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                depth += 1;
                at += 2;
            } else if here.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    self.take(at);
                    return Ok(());
                }
            } else {
                at += here.chars().next().ok_or("a `/*` is never closed")?.len_utf8();
            }
        }
    }

    /// `$tag$ … $tag$`; a `$1` is refused by [`Reader::word`].
    fn dollar(&mut self) -> Result<bool, String> {
        let rest = self.rest();
        let inside = rest.get(1..).unwrap_or_default();
        let name = inside.find(|c: char| !in_word(c)).unwrap_or(inside.len());
        if !inside.get(name..).is_some_and(|after| after.starts_with('$'))
            || inside.starts_with(|c: char| c.is_ascii_digit())
        {
            return Ok(false);
        }
        let tag = rest.get(..name + 2).unwrap_or_default();
        let body = rest.get(tag.len()..).unwrap_or_default();
        let end = body.find(tag).ok_or_else(|| format!("a `{tag}` is never closed"))?;
        self.take(2 * tag.len() + end);
        Ok(true)
    }

    /// A semicolon may stand at the end only: one statement is one entry of the list.
    fn end(&mut self) -> Result<(), String> {
        let after = self.rest().get(1..).unwrap_or_default();
        if !after.trim().is_empty() {
            return Err(
                "something stands behind the `;`: make a list entry of each statement".into()
            );
        }
        self.at = self.text.len();
        Ok(())
    }

    /// Everything else: takes a character or a whole word.
    fn word(&mut self, c: char) -> Result<(), String> {
        let rest = self.rest();
        if in_word(c) {
            let length = rest.find(|c: char| !in_word(c)).unwrap_or(rest.len());
            if self.word.is_none() {
                self.word = rest.get(..length).map(str::to_ascii_lowercase);
            }
            self.take(length);
            return Ok(());
        }
        let placeholder = match self.dialect {
            Dialect::Postgres => {
                c == '$'
                    && rest.get(1..).is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()))
            }
            Dialect::Sqlite => matches!(c, '?' | '@' | '$'),
        };
        if placeholder && !self.before().is_some_and(in_word) {
            return Err(format!(
                "`{c}` stands for a value without a name: write `:event.id`, `:body.…` and the like"
            ));
        }
        if self.word.is_none() && !c.is_whitespace() {
            // Such as a parenthesis: what follows isn't how a statement begins.
            self.word = Some(c.to_string());
        }
        self.take(c.len_utf8());
        Ok(())
    }

    /// A place, or `None` when the colon is none's beginning.
    fn place(&mut self, pointers: &mut Vec<Pointer>) -> Result<Option<Place>, String> {
        let rest = self.rest();
        if rest.starts_with("::") {
            self.take(2);
            return Ok(None);
        }
        let after = rest.get(1..).unwrap_or_default();
        if !after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.take(1);
            return Ok(None);
        }
        let (segments, mut length) = segments(after)?;
        let optional = after.get(length..).is_some_and(|it| it.starts_with('?'));
        let name = after.get(..length).unwrap_or_default().to_owned();
        length += usize::from(optional);
        let place = Place { from: from(&name, &segments, pointers)?, name, optional };
        let can_miss = matches!(place.from, Origin::Pointer(_) | Origin::Header(_));
        if optional && !can_miss {
            return Err(format!("`:{}` is always there: leave the `?` out", place.name));
        }
        if self.word.is_none() {
            self.word = Some(format!(":{}", place.name));
        }
        self.at += 1 + length;
        Ok(Some(place))
    }
}

/// Reads `body.data."odd key".0`, and how many bytes it takes.
fn segments(text: &str) -> Result<(Vec<String>, usize), String> {
    let mut segments: Vec<String> = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if let Some(inside) = rest.strip_prefix('"') {
            let end = inside.find('"').ok_or("a `\"` is never closed")?;
            segments.push(inside.get(..end).unwrap_or_default().to_owned());
            at += end + 2;
        } else {
            // A header's name may hold `-`, where a letter follows it; elsewhere that is a minus.
            let dashes = segments.first().is_some_and(|first| first == "header");
            let chars: Vec<(usize, char)> = rest.char_indices().collect();
            let goes_on = |n: usize| {
                chars.get(n).is_some_and(|(_, c)| {
                    in_word(*c)
                        || (dashes
                            && *c == '-'
                            && chars.get(n + 1).is_some_and(|(_, c)| in_word(*c)))
                })
            };
            let count = (0..).take_while(|n| goes_on(*n)).count();
            let length = chars.get(count).map_or(rest.len(), |(at, _)| *at);
            segments.push(rest.get(..length).unwrap_or_default().to_owned());
            at += length;
        }
        let next = text.get(at..).unwrap_or_default();
        let more = next
            .strip_prefix('.')
            .is_some_and(|it| it.starts_with(|c: char| in_word(c) || c == '"'));
        if !more {
            return Ok((segments, at));
        }
        at += 1;
    }
}

fn from(name: &str, segments: &[String], pointers: &mut Vec<Pointer>) -> Result<Origin, String> {
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        ["event", "id"] => Origin::EventId,
        ["event", "type"] => Origin::EventType,
        ["event", "source"] => Origin::EventSource,
        ["event", "received_at"] => Origin::EventReceivedAt,
        ["delivery", "id"] => Origin::DeliveryId,
        ["body"] => Origin::Body,
        ["body", path @ ..] => {
            let text: String = path
                .iter()
                .map(|it| format!("/{}", it.replace('~', "~0").replace('/', "~1")))
                .collect();
            let pointer = Pointer::parse(&text)?;
            let known = pointers.iter().position(|other| *other == pointer);
            Origin::Pointer(known.unwrap_or_else(|| {
                pointers.push(pointer);
                pointers.len() - 1
            }))
        }
        ["header", header] => Origin::Header(header.to_ascii_lowercase()),
        _ => {
            return Err(format!(
                "`:{name}` is no value: there are `:event.id`, `:event.type`, `:event.source`, `:event.received_at`, `:delivery.id`, `:body`, `:body.…` and `:header.…`"
            ));
        }
    })
}
