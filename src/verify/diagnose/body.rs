//! The body as it may have been when it was signed.

use std::io::Read as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::json::{self, Layout, Strings};
use super::search::{Case, Change, Flow, Search, Visit};
use super::{Cause, charset};

/// A longer body is tried with changes at its ends only: the others cost a copy of it each.
const BODY_MAX: usize = 1024 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";
const CHANGED: &str = "something between the sender and here changes it (a proxy, a framework, a logger): pass the body on byte for byte";

/// Gives one body, unless it is as it was.
fn give(
    case: &Case,
    search: &mut Search<'_>,
    visit: &mut Visit<'_>,
    cause: Cause,
    body: Vec<u8>,
    said: &str,
) -> Flow {
    if body == case.received.body {
        return Flow::Continue(());
    }
    let mut changed = case.clone();
    changed.received.body = Bytes::from(body);
    visit(search, changed, Change::new(cause, format!("the signature fits {said}; {CHANGED}")))
}

/// Changes at its ends.
pub(super) fn ends(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    use Cause::{BodyNewlineAdded, BodyNewlineLost};
    if !case.scheme.content.has_part_of_body() && case.scheme.body_digest.is_none() {
        return Flow::Continue(());
    }
    let body = &case.received.body;
    for end in ["\n", "\r\n"] {
        let longer = [body, end.as_bytes()].concat();
        let said = "the body with a line end behind it, which is lost";
        give(case, search, visit, BodyNewlineLost, longer, said)?;
        if let Some(shorter) = body.strip_suffix(end.as_bytes()) {
            let said = "the body without the line end behind it, which was added";
            give(case, search, visit, BodyNewlineAdded, shorter.to_vec(), said)?;
        }
    }
    let with = [BOM, body].concat();
    let said = "the body with a byte order mark before it, which is lost";
    give(case, search, visit, Cause::BodyBomLost, with, said)?;
    if let Some(without) = body.strip_prefix(BOM) {
        let said = "the body without the byte order mark before it, which was added";
        give(case, search, visit, Cause::BodyBomAdded, without.to_vec(), said)?;
    }
    let said = "the body without the white space around it, which was added";
    give(case, search, visit, Cause::BodyWhiteSpace, body.trim_ascii().to_vec(), said)
}

/// All changes, also those of [`ends`].
pub(super) fn variants(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    if !case.scheme.content.has_part_of_body() && case.scheme.body_digest.is_none() {
        return Flow::Continue(());
    }
    ends(case, search, visit)?;
    empty(case, search, visit)?;
    if case.received.body.is_empty() || case.received.body.len() > BODY_MAX {
        return Flow::Continue(());
    }
    unpacked(case, search, visit)?;
    line_ends(case, search, visit)?;
    charset(case, search, visit)?;
    wrapped(case, search, visit)?;
    form(case, search, visit)?;
    documents(case, search, visit)
}

fn empty(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let said = "an empty body: the sender signs without it";
    give(case, search, visit, Cause::BodyEmpty, Vec::new(), said)?;
    if case.received.body.is_empty() {
        for text in ["{}", "null", "[]"] {
            let said = "a body that means \"nothing\" in JSON, and none came";
            give(case, search, visit, Cause::BodyEmpty, text.as_bytes().to_vec(), said)?;
        }
    }
    Flow::Continue(())
}

/// Compressed on its way.
fn unpacked(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let body = case.received.body.as_ref();
    let said = "what is left when the body is decompressed: it was compressed after it was signed";
    if body.starts_with(b"\x1f\x8b") {
        let mut out = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(body).take(BODY_MAX as u64);
        if reader.read_to_end(&mut out).is_ok() {
            give(case, search, visit, Cause::BodyCompressed, out, said)?;
        }
    }
    if body.first().is_some_and(|first| first & 0x0f == 8) {
        let mut out = Vec::new();
        let mut reader = flate2::read::ZlibDecoder::new(body).take(BODY_MAX as u64);
        if reader.read_to_end(&mut out).is_ok() {
            give(case, search, visit, Cause::BodyCompressed, out, said)?;
        }
    }
    Flow::Continue(())
}

fn line_ends(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let body = case.received.body.as_ref();
    let lf: Vec<u8> = replaced(body, b"\r\n", b"\n");
    let crlf = replaced(&lf, b"\n", b"\r\n");
    let cause = Cause::BodyLineEnds;
    give(case, search, visit, cause, lf, "the body with LF in place of CRLF at its line ends")?;
    give(case, search, visit, cause, crlf, "the body with CRLF in place of LF at its line ends")
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

fn charset(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let body = case.received.body.as_ref();
    let cause = Cause::BodyCharset;
    for (other, said) in charset::others(body) {
        give(case, search, visit, cause, other, said)?;
    }
    Flow::Continue(())
}

/// Wrapped on its way, or captured with what stood around it.
fn wrapped(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let body = case.received.body.as_ref();
    if let Ok(inner) = BASE64_STANDARD.decode(body.trim_ascii()) {
        let said = "what the body's base64 stands for: a gateway passed it on encoded";
        give(case, search, visit, Cause::BodyDoubleEncoded, inner, said)?;
    }
    if let Some(inner) = unchunked(body) {
        let said = "the body without the lengths of its chunks, which belong to its transfer";
        give(case, search, visit, Cause::BodyFramed, inner, said)?;
    }
    let head = body.windows(4).position(|end| end == b"\r\n\r\n");
    if let Some(end) = head.filter(|_| body.windows(7).take(HEAD_LINE_MAX).any(is_http)) {
        let said = "what stands behind the head of a request: only the body is signed";
        give(case, search, visit, Cause::BodyFramed, body[end + 4..].to_vec(), said)?;
    }
    Flow::Continue(())
}

/// Where ` HTTP/1` must stand for a body to begin with a request's head.
const HEAD_LINE_MAX: usize = 2048;

fn is_http(bytes: &[u8]) -> bool {
    bytes == b" HTTP/1"
}

/// What chunks hold; `None` when they aren't chunks to the last byte.
fn unchunked(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = body;
    loop {
        let end = rest.windows(2).position(|end| end == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok()?;
        let length = usize::from_str_radix(length.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        if length == 0 {
            return (rest.is_empty() || rest == b"\r\n").then_some(out);
        }
        out.extend_from_slice(rest.get(..length)?);
        rest = rest.get(length..)?.strip_prefix(b"\r\n")?;
    }
}

fn form(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let body = case.received.body.as_ref();
    let looks = body.contains(&b'=') && !body.starts_with(b"{") && !body.starts_with(b"[");
    let Some(text) = std::str::from_utf8(body).ok().filter(|_| looks) else {
        return Flow::Continue(());
    };
    let encoding = Cause::BodyFormEncoding;
    let decoded = |text: &str| -> Vec<u8> {
        percent_encoding::percent_decode_str(&text.replace('+', " ")).collect()
    };
    for (cause, other, said) in [
        (encoding, text.replace('+', "%20"), "the form with blanks as `%20`, and they came as `+`"),
        (encoding, text.replace("%20", "+"), "the form with blanks as `+`, and they came as `%20`"),
        (encoding, escapes(text, true), "the form with its escapes in upper case"),
        (encoding, escapes(text, false), "the form with its escapes in lower case"),
        (
            Cause::BodyFormDecoded,
            encoded(text, "+"),
            "the form as it is encoded, and it came decoded",
        ),
        (
            Cause::BodyFormDecoded,
            encoded(text, "%20"),
            "the form as it is encoded, and it came decoded",
        ),
        (encoding, encoded(&lossy(&decoded(text)), "+"), "the form, encoded anew"),
    ] {
        give(case, search, visit, cause, other.into_bytes(), said)?;
    }
    let said = "the decoded form, and it came encoded";
    give(case, search, visit, Cause::BodyFormDecoded, decoded(text), said)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every `%` with its digits in one case.
fn escapes(text: &str, upper: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut digits = 0;
    for c in text.chars() {
        out.push(match (digits, upper) {
            (0, _) => c,
            (_, true) => c.to_ascii_uppercase(),
            (_, false) => c.to_ascii_lowercase(),
        });
        digits = if c == '%' { 2 } else { i32::max(digits - 1, 0) };
    }
    out
}

/// A decoded form encoded again, pair by pair.
fn encoded(text: &str, blank: &str) -> String {
    let encode = |part: &str| {
        let plus: String = form_urlencoded::byte_serialize(part.as_bytes()).collect();
        plus.replace('+', blank)
    };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => format!("{}={}", encode(name), encode(value)),
        None => encode(pair),
    };
    text.split('&').map(pair).collect::<Vec<_>>().join("&")
}

/// JSON in other spellings.
fn documents(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let body = case.received.body.as_ref();
    if let Ok(inner) = serde_json::from_slice::<String>(body) {
        let said = "the text that stands in the body's JSON string: the body was encoded twice";
        give(case, search, visit, Cause::BodyDoubleEncoded, inner.into_bytes(), said)?;
    }
    let Some(document) = json::parse(body) else { return Flow::Continue(()) };
    for strings in Strings::ALL {
        if let Some(other) = json::respelled(body, strings) {
            let said = format!("the body with {}", strings.said());
            give(case, search, visit, Cause::BodyEscapes, other, &said)?;
        }
    }
    for layout in Layout::ALL {
        for sorted in [false, true] {
            for strings in [Strings::AsTheyAre].into_iter().chain(Strings::ALL) {
                let other = json::written(&document, layout, sorted, strings);
                let sorted = if sorted { ", its keys sorted" } else { "" };
                let escapes = match strings {
                    Strings::AsTheyAre => String::new(),
                    other => format!(", with {}", other.said()),
                };
                let said = format!(
                    "the body's JSON written {}{sorted}{escapes}: it was parsed and written anew",
                    layout.said()
                );
                give(case, search, visit, Cause::BodyReserialised, other, &said)?;
            }
        }
    }
    Flow::Continue(())
}
