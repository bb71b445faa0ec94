//! Reading Rust as far as the checks need it: code apart from comments, literals and tests.

/// A source text, taken apart. Lines stay where they are, so that positions hold.
#[derive(Debug)]
pub struct Code {
    /// Without comments, and with the literals' insides blanked.
    pub bare: String,
    /// Each string literal's line (1 is the first) and content.
    pub literals: Vec<(usize, String)>,
}

/// Takes the part before the tests apart.
pub fn read(text: &str) -> Code {
    split(before_tests(text))
}

/// Test modules stand at a file's end.
pub fn before_tests(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod ") {
        Some(at) => &text[..at],
        None => text,
    }
}

fn split(text: &str) -> Code {
    let bytes = text.as_bytes();
    let mut bare = String::with_capacity(text.len());
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            rest.find('\n').map_or(text.len(), |n| at + n)
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(text.len(), |n| at + n + 2)
        } else if let Some(opening) = string_opening(rest, bare.chars().last()) {
            let (inside, whole) = string_inside(rest, &opening);
            literals.push((1 + bare.matches('\n').count(), rest[inside.0..inside.1].to_owned()));
            at + whole
        } else if let Some(length) = char_literal(rest) {
            at + length
        } else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            bare.push_str(&rest[..next]);
            at += next;
            continue;
        };
        // Keeps the line numbers.
        bare.push(' ');
        bare.extend(text[at..end].chars().filter(|c| *c == '\n'));
        at = end;
    }
    Code { bare, literals }
}

/// How a string literal begins here: the length of its opening, and its hashes when it is raw.
struct Opening {
    length: usize,
    raw_hashes: Option<usize>,
}

fn string_opening(rest: &str, before: Option<char>) -> Option<Opening> {
    if rest.starts_with('"') {
        return Some(Opening { length: 1, raw_hashes: None });
    }
    // `r` and `b` begin a literal only where an identifier can't go on.
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|after| after.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = rest[prefix.len()..].bytes().take_while(|b| *b == b'#').count();
    let is_raw = prefix.contains('r');
    if !is_raw && hashes > 0 {
        return None;
    }
    Some(Opening { length: prefix.len() + hashes + 1, raw_hashes: is_raw.then_some(hashes) })
}

/// Where the inside is, and the length of the whole literal.
fn string_inside(rest: &str, opening: &Opening) -> ((usize, usize), usize) {
    let begin = opening.length;
    if let Some(hashes) = opening.raw_hashes {
        let closing = format!("\"{}", "#".repeat(hashes));
        let end = rest[begin..].find(&closing).map_or(rest.len(), |n| begin + n);
        return ((begin, end), (end + closing.len()).min(rest.len()));
    }
    let bytes = rest.as_bytes();
    let mut at = begin;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    let end = at.min(rest.len());
    ((begin, end), (end + 1).min(rest.len()))
}

/// The length of a character literal; a lifetime isn't one.
fn char_literal(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|n| n + 4);
    }
    let c = inside.chars().next()?;
    inside[c.len_utf8()..].starts_with('\'').then(|| c.len_utf8() + 2)
}

/// The line (1 is the first) of a position.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// Positions where `word` stands in code as a whole word: nothing of an identifier touches it.
pub fn words<'a>(bare: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    bare.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = bare[..*at].chars().next_back();
        let after = bare[at + word.len()..].chars().next();
        // A word such as `println!(` ends where anything may follow.
        let after = after.filter(|_| word.ends_with(goes_on));
        !before.into_iter().chain(after).any(goes_on)
    })
}

#[test]
fn comments_literals_and_tests_are_no_code() {
    let code = read(concat!(
        "//! crate::a\nuse b; /* crate::c\n */ let q = '\"'; let s = \"crate::d \\\" e\"; 'x: loop {}\n",
        "let r = r#\"SELECT \" 1\"#; let l: &'static str = b\"x\";\nlet crab = r(\"y\");\n",
        "#[cfg(test)]\nmod tests { use crate::f; }\n"
    ));
    assert!(!code.bare.contains("crate"), "{}", code.bare);
    assert!(code.bare.contains("use b;") && code.bare.contains("'x: loop"), "{}", code.bare);
    let literals: Vec<(usize, &str)> =
        code.literals.iter().map(|(n, s)| (*n, s.as_str())).collect();
    assert_eq!(
        literals,
        [(3, "crate::d \\\" e"), (4, "SELECT \" 1"), (4, "x"), (5, "y")],
        "{}",
        code.bare
    );
}

#[test]
fn a_word_is_found_only_whole() {
    let found: Vec<usize> = words("env my_env envy x::env::var", "env").collect();
    assert_eq!(found, [0, 19]);
    let found: Vec<usize> = words("eprintln!( println!(", "println!(").collect();
    assert_eq!(found, [11]);
}
