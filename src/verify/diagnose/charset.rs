//! A text in other character sets.

/// What Windows-1252 has where Latin-1 has control characters, from 0x80 on.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

type Other = (Vec<u8>, &'static str);

/// The body as it may have been before something took one character set for another.
pub(super) fn others(body: &[u8]) -> Vec<Other> {
    let mut found = Vec::new();
    if let Ok(text) = std::str::from_utf8(body) {
        // Text that was UTF-8 and was taken for these is undone by the same step.
        found.extend(
            narrow(text, latin).map(|it| (it, "the body in Latin-1, and it came in UTF-8")),
        );
        let said = "the body in Windows-1252, and it came in UTF-8";
        found.extend(narrow(text, windows).map(|it| (it, said)));
        let said = "the body in UTF-16, and it came in UTF-8";
        let little = |unit: u16| unit.to_le_bytes();
        let big = |unit: u16| unit.to_be_bytes();
        found.push((text.encode_utf16().flat_map(little).collect(), said));
        found.push((text.encode_utf16().flat_map(big).collect(), said));
    } else {
        let wide = |of: fn(u8) -> char| -> Vec<u8> {
            body.iter().map(|byte| of(*byte)).collect::<String>().into_bytes()
        };
        found.push((wide(char::from), "the body in UTF-8, and it came in Latin-1"));
        found.push((wide(of_windows), "the body in UTF-8, and it came in Windows-1252"));
    }
    for of in [u16::from_le_bytes as fn([u8; 2]) -> u16, u16::from_be_bytes] {
        found.extend(of_utf16(body, of).map(|it| (it, "the body in UTF-8, and it came in UTF-16")));
    }
    found
}

fn narrow(text: &str, of: fn(char) -> Option<u8>) -> Option<Vec<u8>> {
    text.chars().map(of).collect()
}

fn latin(c: char) -> Option<u8> {
    u8::try_from(u32::from(c)).ok()
}

fn windows(c: char) -> Option<u8> {
    let at = WINDOWS.iter().position(|other| *other == c);
    at.and_then(|at| u8::try_from(0x80 + at).ok()).or_else(|| latin(c))
}

fn of_windows(byte: u8) -> char {
    let at = usize::from(byte).checked_sub(0x80);
    at.and_then(|at| WINDOWS.get(at).copied()).unwrap_or_else(|| char::from(byte))
}

/// UTF-8 of what has zeros in it, as UTF-16 of most texts does.
fn of_utf16(body: &[u8], of: fn([u8; 2]) -> u16) -> Option<Vec<u8>> {
    if !body.len().is_multiple_of(2) || !body.contains(&0) {
        return None;
    }
    let units = body.as_chunks().0.iter().map(|pair| of(*pair));
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    Some(text.trim_start_matches('\u{feff}').as_bytes().to_vec())
}
