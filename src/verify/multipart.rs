//! `multipart/form-data` (RFC 7578), read strictly, and by the body alone.
//!
//! The boundary is the one that the body begins with. The content type, which also names it, is rarely
//! signed: who could choose another one could choose where one value ends and the next begins. What two
//! readers might read in two ways is malformed.

use std::ops::Range;

use memchr::memmem;

/// The longest boundary (RFC 2046, 5.1.1), in bytes.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Parts of one body.
pub(crate) const PARTS_MAX: usize = 1000;

/// Bytes of one part's headers.
const HEAD_BYTES_MAX: usize = 4096;

/// Headers of one part.
const HEADERS_MAX: usize = 16;

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormPart {
    /// The field's name.
    pub(crate) name: Vec<u8>,
    /// Whether it is a file, which is no value of a field.
    pub(crate) is_file: bool,
    /// Where its content lies in the body.
    pub(crate) content: Range<usize>,
}

/// Whether a body begins as one does: then it is one, or malformed.
pub(crate) fn begins(body: &[u8]) -> bool {
    body.starts_with(b"--")
}

/// The parts of a body, in their order.
pub(crate) fn parts(body: &[u8]) -> Result<Vec<FormPart>, &'static str> {
    let boundary = boundary(body)?;
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    let mut at = delimiter.len();
    loop {
        if parts.len() == PARTS_MAX {
            return Err("it has too many parts");
        }
        let rest = body.get(at..).unwrap_or_default();
        let head = &rest[..rest.len().min(HEAD_BYTES_MAX)];
        let end = memmem::find(head, b"\r\n\r\n").ok_or("the headers of a part don't end")? + 4;
        let (name, is_file) = read_head(&rest[..end])?;
        let start = at + end;
        let stop = start + finder.find(&body[start..]).ok_or("its last boundary is missing")?;
        parts.push(FormPart { name, is_file, content: start..stop });
        let after = stop + delimiter.len();
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
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(b);
    if boundary.is_empty() || !boundary.iter().all(fits) {
        return Err("it doesn't begin with a boundary's line");
    }
    Ok(boundary)
}

/// The name in a part's headers, and whether it is a file.
fn read_head(head: &[u8]) -> Result<(Vec<u8>, bool), &'static str> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let Ok(httparse::Status::Complete((_, headers))) = httparse::parse_headers(head, &mut lines)
    else {
        return Err("the headers of a part can't be read");
    };
    let mut disposition = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-disposition") {
            if disposition.replace(header.value).is_some() {
                return Err("a part has two dispositions");
            }
        } else if header.name.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = [&b"7bit"[..], b"8bit", b"binary"];
            if !plain.iter().any(|word| header.value.eq_ignore_ascii_case(word)) {
                return Err("a part is encoded, which forms never are");
            }
        }
    }
    read_disposition(disposition.ok_or("a part has no disposition")?)
}

/// The name in `form-data; name="a"; filename="b"`.
fn read_disposition(value: &[u8]) -> Result<(Vec<u8>, bool), &'static str> {
    const MALFORMED: &str = "a part's disposition can't be read";
    let kind = value.iter().position(|b| *b == b';').unwrap_or(value.len());
    if !value[..kind].trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err("a part's disposition is not form-data");
    }
    let (mut name, mut is_file) = (None, false);
    let mut rest = &value[kind..];
    while let Some(after) = rest.strip_prefix(b";") {
        let equals = after.iter().position(|b| *b == b'=').ok_or(MALFORMED)?;
        let key = after[..equals].trim_ascii().to_ascii_lowercase();
        let (text, behind) = read_text(after[equals + 1..].trim_ascii_start()).ok_or(MALFORMED)?;
        match key.as_slice() {
            b"name" if name.is_none() => name = Some(text.to_vec()),
            b"name" => return Err("a part has two names"),
            b"name*" => return Err("a part's name is encoded"),
            b"filename" | b"filename*" => is_file = true,
            _ => {}
        }
        // Some readers take a backslash for itself, and others take it as an escape: what follows may be
        // two things. A file is none of the values, whatever it is called.
        if text.contains(&b'\\') {
            match (&name, is_file) {
                (Some(name), true) if key != b"name" => return Ok((name.clone(), true)),
                _ => return Err("a backslash makes a part's name two names"),
            }
        }
        rest = behind.trim_ascii_start();
    }
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    Ok((name.ok_or("a part has no name")?, is_file))
}

/// A parameter's value, as far as any reader takes it to go, and what is behind it.
fn read_text(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let end = quoted.iter().position(|b| *b == b'"')?;
        return Some((&quoted[..end], &quoted[end + 1..]));
    }
    let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
    let word = text[..end].trim_ascii_end();
    let fits = |b: &u8| b.is_ascii_graphic() && !b"\"(),/:<=>?@[\\]{}".contains(b);
    word.iter().all(fits).then_some((word, &text[end..]))
}

/// A body with this value as its only one of that name, at its end when it has none. For signing.
pub(crate) fn with_value(body: &[u8], name: &str, value: &str) -> Result<Vec<u8>, String> {
    let boundary = boundary(body)?;
    let all = parts(body)?;
    let mut mine = all.iter().filter(|part| !part.is_file && part.name == name.as_bytes());
    let (changed, added) = match (mine.next(), mine.next()) {
        (Some(part), None) => {
            let (before, after) = (&body[..part.content.start], &body[part.content.end..]);
            ([before, value.as_bytes(), after].concat(), 0)
        }
        (Some(_), Some(_)) => return Err(format!("`{name}` stands more than once")),
        (None, _) => {
            let end = all.last().map_or(body.len(), |part| part.content.end);
            let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
            let part = [b"\r\n--", boundary, b"\r\n", head.as_bytes()].concat();
            ([&body[..end], &part, &body[end..]].concat(), 1)
        }
    };
    // A value that holds the boundary would end itself.
    match parts(&changed) {
        Ok(parts) if parts.len() == all.len() + added => Ok(changed),
        _ => Err(format!("`{name}` can't hold this value: the boundary stands in it")),
    }
}

#[cfg(test)]
mod tests;
