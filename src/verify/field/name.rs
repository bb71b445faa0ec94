//! Names that are one to some readers of forms and queries.

/// Whether some readers take the name `other` for `name`, though it is written in another way: they trim
/// a name, end it at a bracket, or put `_` for what their language has in no name.
pub(in crate::verify) fn is_alias(other: &str, name: &str) -> bool {
    // A name with brackets is looked for by who keeps them; all of its family would be one to others.
    let is_whole = name.contains(['[', ']', ';']);
    other != name && lax(other, is_whole).eq(lax(name, is_whole))
}

fn lax(name: &str, is_whole: bool) -> impl Iterator<Item = char> {
    // Bytes that are no text are left out by some.
    let space = |c: char| c.is_whitespace() || c.is_control() || "\u{feff}\u{fffd}".contains(c);
    let begun = name.trim_matches(space).trim_start_matches(['/', '\\', '[', ']']);
    let end = begun.find(|c| c == '\0' || (!is_whole && "[];".contains(c))).unwrap_or(begun.len());
    begun[..end]
        .trim_matches(space)
        .chars()
        .filter(|c| *c != '\u{fffd}')
        .map(|c| if matches!(c, '.' | ' ') { '_' } else { c })
}
