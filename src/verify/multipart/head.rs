//! The head of a part: its field's name, and whether it is a file.

use memchr::memmem;

use super::Role;
use super::text::{Charset, holds, is_token};

/// Headers of one part.
pub(super) const HEADERS_MAX: usize = 16;

/// Bytes of one disposition. Some readers pass over a longer one, and take the name from elsewhere.
const DISPOSITION_BYTES_MAX: usize = 1536;

const MALFORMED: &str = "a part's disposition can't be read";

/// The name in a part's headers, and what it is.
pub(super) fn read(head: &[u8], content: &[u8]) -> Result<(Vec<u8>, Role), &'static str> {
    if !has_plain_lines(head) {
        return Err("a line of a part's headers is folded, or doesn't end with CR and LF");
    }
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let Ok(httparse::Status::Complete((_, headers))) = httparse::parse_headers(head, &mut lines)
    else {
        return Err("the headers of a part can't be read");
    };
    // Some readers look for it wherever it stands, and not in headers.
    let word = &b"content-disposition"[..];
    if head.windows(word.len()).filter(|part| part.eq_ignore_ascii_case(word)).count() > 1 {
        return Err("a part has two dispositions");
    }
    let (mut disposition, mut content_type) = (None, None);
    let mut is_doubtful = false;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-disposition") {
            disposition = Some(header.value);
        } else if header.name.eq_ignore_ascii_case("content-type") {
            if holds(header.value, b"multipart/") && holds(header.value, b"boundary") {
                return Err("a part is a form of its own");
            }
            is_doubtful |= content_type.replace(header.value).is_some_and(|it| it != header.value);
            is_doubtful |= may_be_no_text(header.value, content);
        } else if header.name.eq_ignore_ascii_case("content-encoding") {
            is_doubtful = true;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            if header.value != content.len().to_string().as_bytes() {
                return Err("a part is said to be of another length than it is");
            }
        } else if header.name.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = [&b"7bit"[..], b"8bit", b"binary"];
            if !plain.iter().any(|word| header.value.eq_ignore_ascii_case(word)) {
                return Err("a part is encoded, which forms never are");
            }
        }
    }
    let disposition = disposition.ok_or("a part has no disposition")?;
    if disposition.len() > DISPOSITION_BYTES_MAX {
        return Err("a part's disposition is too long");
    }
    let (name, role) = read_disposition(disposition)?;
    if name == b"_charset_" && Charset::named(content) == Charset::Other {
        return Err("it says that it is in a charset in which it may be another form");
    }
    Ok((name, if role == Role::Value && is_doubtful { Role::Doubtful } else { role }))
}

/// Whether each line ends with CR and LF, and none begins with a space: some readers end a line, or the
/// whole head, at an LF alone, and some put a folded line behind the one before.
fn has_plain_lines(head: &[u8]) -> bool {
    let mut before = b'\n';
    head.iter().all(|b| {
        let fits = match (before, *b) {
            (b'\r', b'\n') => true,
            (b'\r', _) | (_, b'\n') | (b'\n', b' ' | b'\t') => false,
            _ => true,
        };
        before = *b;
        fits
    })
}

/// Whether some readers take a value of this type for a file, for parts, or for another text.
fn may_be_no_text(content_type: &[u8], content: &[u8]) -> bool {
    let is_other = match Charset::of(content_type) {
        Charset::Plain => false,
        Charset::Ascii => !content.is_ascii(),
        Charset::Other => true,
    };
    is_other || holds(content_type, b"octet-stream") || holds(content_type, b"multipart")
}

/// The name in `form-data; name="a"; filename="b"`, and whether it is a file.
fn read_disposition(value: &[u8]) -> Result<(Vec<u8>, Role), &'static str> {
    let kind = value.iter().position(|b| *b == b';').unwrap_or(value.len());
    if !value[..kind].trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err("a part's disposition is not form-data");
    }
    let (mut name, mut file, mut encoded) = (None, None, None);
    let mut rest = &value[kind..];
    while let Some(after) = rest.strip_prefix(b";") {
        let equals = after.iter().position(|b| *b == b'=').ok_or(MALFORMED)?;
        let key = after[..equals].trim_ascii_start();
        let written = &after[equals + 1..];
        let (text, behind) = read_text(written, key == b"filename*").ok_or(MALFORMED)?;
        if hides_name(text) {
            return Err("a part may have two names");
        }
        let is_new = match key {
            b"name" => name.replace(text).is_none(),
            b"filename" => file.replace(text).is_none(),
            b"filename*" => encoded.replace(text).is_none(),
            // Some readers put the pieces of `name*0` and `name*1` together.
            other if other.contains(&b'*') => return Err("a part's name is encoded"),
            other if !is_key(other) => return Err(MALFORMED),
            // Also in capitals: to some it is another word.
            other if holds(other, b"name") || has_name(text) => {
                return Err("a part may have two names");
            }
            _ => true,
        };
        if !is_new {
            return Err("a part has two names");
        }
        // Some readers take a backslash for itself, and others take it as an escape: what follows may be
        // two things. In the last parameter, a file's name, nothing follows that would count.
        if text.contains(&b'\\') {
            return match name {
                Some(name)
                    if key == b"filename"
                        && encoded.is_none()
                        && !has_name(before_encoded(written)) =>
                {
                    Ok((plain_name(name)?, Role::File))
                }
                _ => Err("a backslash makes a part's name two names"),
            };
        }
        rest = behind.trim_ascii_start();
    }
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    let name = plain_name(name.ok_or("a part has no name")?)?;
    Ok((name, role(file, encoded)))
}

/// By the names of a file: some readers see only the plain one, some put the encoded one in its place,
/// and to some an empty name makes no file.
fn role(file: Option<&[u8]>, encoded: Option<&[u8]>) -> Role {
    let names = |text: &[u8]| !text.trim_ascii().is_empty();
    // Behind the charset and the language.
    let decodes = |text: &[u8]| text.splitn(3, |b| *b == b'\'').nth(2).is_some_and(names);
    match (file, encoded) {
        (None, None) => Role::Value,
        (Some(file), None) if names(file) => Role::File,
        (Some(file), Some(encoded)) if names(file) && decodes(encoded) => Role::File,
        _ => Role::Doubtful,
    }
}

/// A name that no reader decodes, or takes for none.
fn plain_name(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    let word = memmem::find(name, b"=?").map(|at| &name[at + 2..]);
    if word.is_some_and(|word| memmem::find(word, b"?=").is_some()) {
        return Err("a part's name is encoded");
    }
    if name.is_empty() {
        return Err("a part's name is empty");
    }
    Ok(name.to_vec())
}

/// Whether some readers find a further name inside of a value: they look for the last `; name=`.
fn hides_name(text: &[u8]) -> bool {
    text.split(|b| *b == b';').skip(1).any(has_name)
}

/// What stands before a last `; filename*=UTF-8''b`.
fn before_encoded(written: &[u8]) -> &[u8] {
    const KEY: &[u8] = b"; filename*=";
    memmem::rfind(written, KEY)
        .filter(|at| {
            let read = read_text(&written[at + KEY.len()..], true);
            read.is_some_and(|(text, behind)| behind.is_empty() && !has_name(text))
        })
        .map_or(written, |at| &written[..at])
}

/// Whether a further name of any kind could be read of it: `name=`, `filename =`, `name*0*=`.
fn has_name(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    memmem::find_iter(&text, b"name").any(|at| {
        let behind = text[at + 4..].iter().find(|b| !b" \t*0123456789".contains(b));
        behind == Some(&b'=')
    })
}

/// Single quotes are quotes to some readers.
fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.iter().all(|b| is_token(*b) && *b != b'\'')
}

/// A parameter's value, as far as any reader takes it to go, and what is behind it.
fn read_text(text: &[u8], is_encoded: bool) -> Option<(&[u8], &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let end = quoted.iter().position(|b| *b == b'"')?;
        return Some((&quoted[..end], &quoted[end + 1..]));
    }
    let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
    let word = text[..end].trim_ascii_end();
    let quotes = word.iter().filter(|b| **b == b'\'').count();
    let fits = |b: &u8| b.is_ascii_graphic() && !b"\"(),/:<=>?@[\\]{}".contains(b);
    // A pair of them around a language is no harm.
    let is_fine = word.iter().all(fits) && quotes == if is_encoded { 2 } else { 0 };
    is_fine.then_some((word, &text[end..]))
}
