//! `multipart/form-data` (RFC 7578), read strictly.
//!
//! The boundary is the one that the body begins with, and the content type of a request has to name the
//! same. What two readers might read in two ways is malformed.

use std::ops::Range;

use memchr::memmem;

use super::field::Unreadable;
use super::field::name::is_alias;

mod head;
mod said;
mod text;

pub(crate) use said::{is_one, may_be_other_pairs};

/// The longest boundary (RFC 2046, 5.1.1), in bytes.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Parts of one body.
pub(crate) const PARTS_MAX: usize = 1000;

/// Bytes of one part's headers.
const HEAD_BYTES_MAX: usize = 4096;

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormPart {
    /// The field's name.
    pub(crate) name: Vec<u8>,
    /// What it is.
    pub(crate) role: Role,
    /// Where its content lies in the body.
    pub(crate) content: Range<usize>,
}

/// What a part is to those who read forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A field's value.
    Value,
    /// A file, which is no value.
    File,
    /// A value to some, and to others a file or another value.
    Doubtful,
}

/// Whether a body begins as one does: then it is one, or malformed.
pub(crate) fn begins(body: &[u8]) -> bool {
    body.starts_with(b"--")
}

/// The parts of a body, in their order.
pub(crate) fn parts(body: &[u8]) -> Result<Vec<FormPart>, &'static str> {
    let boundary = boundary(body)?;
    let delimiter = [b"--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    let mut at = delimiter.len() + 2;
    loop {
        if parts.len() == PARTS_MAX {
            return Err("it has too many parts");
        }
        let rest = body.get(at..).unwrap_or_default();
        let next = finder.find(rest).ok_or("its last boundary is missing")?;
        // Some readers end a part there behind an LF or a CR alone, or behind nothing at all.
        let part = rest[..next]
            .strip_suffix(b"\r\n")
            .ok_or("its boundary stands elsewhere than behind a line's end")?;
        let head = &part[..part.len().min(HEAD_BYTES_MAX)];
        let end = memmem::find(head, b"\r\n\r\n").ok_or("the headers of a part don't end")? + 4;
        let (name, role) = head::read(&part[..end], &part[end..])?;
        parts.push(FormPart { name, role, content: at + end..at + part.len() });
        let after = at + next + delimiter.len();
        match &body[after..] {
            b"--" | b"--\r\n" => return Ok(parts),
            [b'\r', b'\n', ..] => at = after + 2,
            [b'-', b'-', ..] => return Err("something stands behind its last boundary"),
            _ => return Err("something stands on a boundary's line"),
        }
    }
}

/// The boundary in the first line of a body.
fn boundary(body: &[u8]) -> Result<&[u8], &'static str> {
    let line = &body[..body.len().min(BOUNDARY_BYTES_MAX + 4)];
    let end = memmem::find(line, b"\r\n").ok_or("it doesn't begin with a boundary's line")?;
    let boundary = line[..end].strip_prefix(b"--").unwrap_or_default();
    // Not the comma, at which some readers end it, nor what some take for quotes or a comment.
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"+_-./:=?".contains(b);
    if boundary.is_empty() || !boundary.iter().all(fits) {
        return Err("it doesn't begin with a boundary's line");
    }
    Ok(boundary)
}

/// The one part that is the value of `name`. A file is none; beside a value of its name it is a second
/// one, because some readers keep both in one map.
pub(crate) fn value<'a>(
    parts: &'a [FormPart],
    name: &str,
) -> Result<Option<&'a FormPart>, Unreadable> {
    let is_mine = |part: &&FormPart| {
        part.name == name.as_bytes() || is_alias(&String::from_utf8_lossy(&part.name), name)
    };
    let mut mine = parts.iter().filter(is_mine);
    match (mine.next(), mine.next()) {
        (Some(part), None) => match part.role {
            Role::File => Ok(None),
            Role::Value if part.name == name.as_bytes() => Ok(Some(part)),
            Role::Value | Role::Doubtful => Err(Unreadable::Doubtful),
        },
        (first, second) => {
            let is_file = |part: &FormPart| part.role == Role::File;
            let all_files = first.into_iter().chain(second).chain(mine).all(is_file);
            if all_files { Ok(None) } else { Err(Unreadable::Repeated) }
        }
    }
}

/// A body with this value as its only one of that name, at its end when it has none. For signing.
pub(crate) fn with_value(body: &[u8], name: &str, value: &str) -> Result<Vec<u8>, String> {
    let boundary = boundary(body)?;
    let all = parts(body)?;
    let mine = self::value(&all, name).map_err(|why| format!("`{name}`: {why}"))?;
    let (changed, added) = if let Some(part) = mine {
        let (before, after) = (&body[..part.content.start], &body[part.content.end..]);
        ([before, value.as_bytes(), after].concat(), 0)
    } else {
        let end = all.last().map_or(body.len(), |part| part.content.end);
        let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
        let part = [b"\r\n--", boundary, b"\r\n", head.as_bytes()].concat();
        ([&body[..end], &part, &body[end..]].concat(), 1)
    };
    let read = parts(&changed).map_err(|why| {
        format!("`{name}` can't hold this value: with it the form could be read in two ways, {why}")
    })?;
    // A value that holds the boundary would end itself, and a name that holds quotes, too.
    match self::value(&read, name) {
        Ok(Some(part))
            if read.len() == all.len() + added
                && changed[part.content.clone()] == *value.as_bytes() =>
        {
            Ok(changed)
        }
        _ => Err(format!("a form can't hold one value of the name `{name}` only")),
    }
}

#[cfg(test)]
mod tests;
