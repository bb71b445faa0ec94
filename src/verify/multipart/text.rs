//! Bytes of headers.

/// A character of a token (RFC 9110, 5.6.2).
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Whether `word` stands in `text`, in any case.
pub(super) fn holds(text: &[u8], word: &[u8]) -> bool {
    find(text, word).is_some()
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part.eq_ignore_ascii_case(word))
}

/// Whether a content type names no charset, or one in which a text is its bytes as UTF-8.
pub(super) fn is_plain_charset(content_type: &[u8]) -> bool {
    let Some(at) = find(content_type, b"charset") else { return true };
    let behind = &content_type[at + b"charset".len()..];
    let end = behind.iter().position(|b| *b == b';').unwrap_or(behind.len());
    let said = behind[..end].trim_ascii_end().to_ascii_lowercase();
    let plain = [&b"=utf-8"[..], b"=\"utf-8\"", b"=us-ascii", b"=\"us-ascii\""];
    plain.contains(&said.as_slice()) && !holds(&behind[end..], b"charset")
}
