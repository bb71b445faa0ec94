//! JSON from outside, before a recursive reader gets it.

/// How deep arrays and objects may be nested; every reader that we use takes so much of a thread's stack
/// at most.
pub(super) const DEPTH_MAX: usize = 127;

/// Whether no array or object stands deeper than [`DEPTH_MAX`]. Counts brackets outside of strings and
/// reads nothing else, so it says nothing of whether this is JSON.
pub(super) fn is_shallow(bytes: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return false;
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Parses a body strictly; the error says why without quoting it.
pub(super) fn parse(body: &[u8]) -> Result<serde_json::Value, String> {
    if !is_shallow(body) {
        return Err(format!("the event's body is nested deeper than {DEPTH_MAX}"));
    }
    serde_json::from_slice(body).map_err(|error| {
        format!("the event's body isn't JSON (line {}, column {})", error.line(), error.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let deep = |n: usize| [b"[".repeat(n), b"]".repeat(n)].concat();
        assert!(is_shallow(&deep(DEPTH_MAX)));
        assert!(!is_shallow(&deep(DEPTH_MAX + 1)));
        assert!(!is_shallow(&b"[".repeat(1 << 20)), "unfinished is as deep");
        let quoted = format!(r#"["{}", "\"{}"]"#, "[".repeat(500), "{".repeat(500));
        assert!(is_shallow(quoted.as_bytes()));
        assert!(parse(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(
            parse(b"{\"a\": nope}").unwrap_err(),
            "the event's body isn't JSON (line 1, column 8)"
        );
    }
}
