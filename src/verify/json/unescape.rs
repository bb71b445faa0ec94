//! The text of a JSON string.

use std::borrow::Cow;

/// The text of a string's inside, which the scanner has checked. A lone surrogate gives `None`:
/// it is no text.
pub(super) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let kind = *rest.as_bytes().get(at + 1)?;
        rest = rest.get(at + 2..)?;
        match kind {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = u32::from_str_radix(rest.get(..4)?, 16).ok()?;
                rest = &rest[4..];
                let (value, used) = join_surrogates(unit, rest);
                rest = &rest[used..];
                out.push(char::from_u32(value)?);
            }
            other => out.push(char::from(other)),
        }
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// The scalar that `unit` begins, and how many bytes of `rest` belong to it.
fn join_surrogates(unit: u32, rest: &str) -> (u32, usize) {
    if !(0xd800..0xdc00).contains(&unit) {
        return (unit, 0);
    }
    let low = rest.strip_prefix("\\u").and_then(|rest| rest.get(..4));
    match low.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(low @ 0xdc00..=0xdfff) => (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 6),
        Some(_) | None => (unit, 0),
    }
}
