//! The `Idempotency-Key` header: an RFC 8941 string, or the bare token that most clients send.

use super::Refusal;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// Reads the key of a request from its lines of the header; `Ok(None)` when there is none.
///
/// `"8e03…"` and `8e03…` are the same key. Anything that two parsers could read in two ways is refused:
/// two lines, a list, an empty key, parameters, characters that can't be seen.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<String>, Refusal> {
    let mut lines = lines.into_iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(Refusal::Invalid("it stands more than once".to_owned()));
    }
    let text = std::str::from_utf8(line.trim_ascii())
        .map_err(|_| Refusal::Invalid("it holds bytes that are no ASCII".to_owned()))?;
    let key = match text.strip_prefix('"') {
        Some(rest) => quoted(rest)?,
        None => bare(text)?,
    };
    if key.is_empty() {
        return Err(Refusal::Invalid("it is empty".to_owned()));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::Invalid(format!("it is longer than {KEY_BYTES_MAX} characters")));
    }
    Ok(Some(key))
}

fn bare(text: &str) -> Result<String, Refusal> {
    match text.chars().find(|c| !visible(*c) || matches!(c, ',' | '"')) {
        None => Ok(text.to_owned()),
        Some(c) => Err(unfit(c)),
    }
}

/// What stands behind the first quote.
fn quoted(rest: &str) -> Result<String, Refusal> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next() {
            None => return Err(Refusal::Invalid("its quotes are not closed".to_owned())),
            Some('"') => break,
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '\\')) => key.push(c),
                _ => {
                    let why = "a backslash in quotes may only stand before `\"` or `\\`";
                    return Err(Refusal::Invalid(why.to_owned()));
                }
            },
            Some(c) if visible(c) => key.push(c),
            Some(c) => return Err(unfit(c)),
        }
    }
    if chars.next().is_some() {
        return Err(Refusal::Invalid("something stands behind its quotes".to_owned()));
    }
    Ok(key)
}

fn visible(c: char) -> bool {
    matches!(c, '!'..='~')
}

fn unfit(c: char) -> Refusal {
    Refusal::Invalid(format!("`{}` can't stand there", c.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<String>, Refusal> {
        parse(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn a_string_and_a_bare_token_are_the_same_key() {
        let long = "k".repeat(KEY_BYTES_MAX);
        for (line, key) in [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("  k  ", "k"),
            (r#""a,b""#, "a,b"),
            (r#""a\"\\b""#, r#"a"\b"#),
            ("a;b=c", "a;b=c"),
            (&long, &long),
        ] {
            assert_eq!(read(&[line]), Ok(Some(key.to_owned())), "{line}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_key() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for lines in [
            &["a", "b"][..],
            &["a", "a"],
            &[""],
            &["   "],
            &["\"\""],
            &["a,b"],
            &["a b"],
            &["\"a b\""],
            &["\"a"],
            &["a\"b"],
            &["\"a\"b"],
            &["\"a\";v=1"],
            &[r#""a\b""#],
            &["\u{fc}"],
            &["a\u{7f}"],
            &["a\tb"],
            &[&long],
        ] {
            assert!(matches!(read(lines), Err(Refusal::Invalid(_))), "{lines:?}");
        }
    }
}
