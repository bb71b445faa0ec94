//! What the content type of a request says of a multipart body.
//!
//! It is rarely signed, and who could choose it could choose where one value ends and the next begins,
//! for each reader that goes by it. So it must say what the body says, in a way that all read alike.

use memchr::memmem;

use super::text::{Charset, holds, is_token};
use crate::received::{Headers, Received};

/// Whether the body is a multipart form to every reader, or is none to any.
pub(crate) fn is_one(received: &Received) -> Result<bool, &'static str> {
    match (super::begins(&received.body), boundary(&received.headers)?) {
        (true, Some(said)) if said == super::boundary(&received.body)? => {
            if is_cut(said, &received.body) {
                return Err("the boundary as far as some readers take it to go stands in it, too");
            }
            Ok(true)
        }
        (true, Some(_)) => {
            Err("the content type names another boundary than the one that the body begins with")
        }
        (true, None) => Err("the body begins as one, and the content type doesn't say so"),
        (false, Some(_)) => Err("the content type says so, and the body doesn't begin as one"),
        (false, None) => Ok(false),
    }
}

/// Whether a form in pairs is said to be in a charset in which it may be another form.
pub(crate) fn may_be_other_pairs(headers: &Headers) -> bool {
    let said = |line: &[u8]| holds(line, b"form") && Charset::of(line) == Charset::Other;
    headers.all("content-type").any(said)
}

/// Whether a line begins with the boundary as far as it is a token, where some readers end it.
fn is_cut(boundary: &[u8], body: &[u8]) -> bool {
    let Some(end) = boundary.iter().position(|b| !is_token(*b)) else { return false };
    let cut = [b"--", &boundary[..end]].concat();
    end > 0
        && memmem::find_iter(body, &cut).any(|at| {
            let behind = &body[at + cut.len()..];
            let spaces = behind.iter().take_while(|b| b" \t".contains(b)).count();
            matches!(behind[spaces..], [] | [b'\r' | b'\n', ..] | [b'-', b'-', ..])
        })
}

/// The boundary that the content type names; none when it says nothing of parts.
fn boundary(headers: &Headers) -> Result<Option<&[u8]>, &'static str> {
    if !headers.all("content-type").any(|line| holds(line, b"multipart")) {
        return Ok(None);
    }
    let mut lines = headers.all("content-type");
    let first = lines.next();
    // A proxy may have doubled it.
    if lines.any(|line| Some(line) != first) {
        return Err("the content type stands more than once");
    }
    first.map(read).transpose()
}

/// The boundary in `multipart/form-data; boundary=b`.
fn read(line: &[u8]) -> Result<&[u8], &'static str> {
    const MALFORMED: &str = "the content type can't be read";
    let end = line.iter().position(|b| *b == b';').unwrap_or(line.len());
    if !line[..end].trim_ascii().eq_ignore_ascii_case(b"multipart/form-data") {
        return Err("the content type is not multipart/form-data alone");
    }
    let mut boundary = None;
    let mut rest = &line[end..];
    while let Some(after) = rest.strip_prefix(b";") {
        let after = after.trim_ascii_start();
        if after.is_empty() || after.starts_with(b";") {
            rest = after;
            continue;
        }
        let equals = after.iter().position(|b| *b == b'=').ok_or(MALFORMED)?;
        let (key, written) = (&after[..equals], &after[equals + 1..]);
        let (text, behind) = read_text(written).ok_or(MALFORMED)?;
        if key.eq_ignore_ascii_case(b"boundary") {
            if boundary.replace(text).is_some() {
                return Err("the content type names two boundaries");
            }
        } else if !key.iter().all(|b| is_token(*b)) || key.is_empty() {
            return Err(MALFORMED);
        } else if key.eq_ignore_ascii_case(b"charset") && Charset::named(text) == Charset::Other {
            return Err("the content type names a charset in which it may be another form");
        } else if holds(key, b"boundary") || holds(text, b"boundary") {
            // Some readers look for the first `boundary=`, wherever it stands.
            return Err("the content type may name two boundaries");
        }
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    boundary.ok_or("the content type names no boundary")
}

/// A parameter's value, and what is behind it. A space before the `;` is a part of the value to some.
fn read_text(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let end = quoted.iter().position(|b| *b == b'"')?;
        let is_plain = !quoted[..end].contains(&b'\\');
        return is_plain.then_some((&quoted[..end], quoted[end + 1..].trim_ascii_start()));
    }
    let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
    // More than a token: many senders don't quote their boundaries.
    let fits = |b: &u8| is_token(*b) || b"/:=?".contains(b);
    text[..end].iter().all(fits).then_some((&text[..end], &text[end..]))
}
