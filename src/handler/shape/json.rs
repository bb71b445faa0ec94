//! JSON from outside, before a recursive reader gets it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

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

/// Fails as [`parse`] does, and builds nothing: a body of many small objects takes a hundred times its size.
pub(super) fn check(body: &[u8]) -> Result<(), String> {
    parse(body).map(|Checked| ())
}

/// Parses a body strictly; the error says why without quoting it.
pub(super) fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    if !is_shallow(body) {
        return Err(format!("the event's body is nested deeper than {DEPTH_MAX}"));
    }
    serde_json::from_slice(body).map_err(|error| {
        format!("the event's body isn't JSON (line {}, column {})", error.line(), error.column())
    })
}

/// Any JSON, read as strictly as what is kept: texts that are UTF-8, numbers within their range.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
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
        assert!(parse::<serde_json::Value>(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(
            parse::<serde_json::Value>(b"{\"a\": nope}").unwrap_err(),
            "the event's body isn't JSON (line 1, column 8)"
        );
    }

    #[test]
    fn what_is_only_checked_fails_as_what_is_kept() {
        for body in [
            &b"{\"a\": [1, -2, 3.5, true, null, \"x\", {}, []], \"a\": 2}"[..],
            b"1e400",
            b"123456789012345678901234567890",
            b"\"\\ud800\"",
            b"\"\xff\"",
            b"{\"\xff\": 1}",
            b"{\"a\": NaN}",
            b"{a: 1}",
            b"{1: 1}",
            b"[1,]",
            b"[1] 2",
            b"",
            b" ",
            b"01",
            b"\"\n\"",
        ] {
            let kept = parse::<serde_json::Value>(body).map(|_| ());
            assert_eq!(check(body), kept, "{}", String::from_utf8_lossy(body));
            let read = parse::<super::super::value::Json>(body).map(|_| ());
            assert_eq!(read, kept, "{}", String::from_utf8_lossy(body));
        }
        assert!(check(&[b"[".repeat(DEPTH_MAX), b"]".repeat(DEPTH_MAX)].concat()).is_ok());
        assert!(check(&b"[".repeat(DEPTH_MAX + 1)).is_err());
    }
}
