//! Finds a key at the top of a JSON object.

use super::{Malformed, Scanner, scan, unescape};

/// The first key of `document` that is wanted. `None` when there is none, or it is no object.
pub(crate) fn first_key(
    document: &[u8],
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<String>, Malformed> {
    scan(document, &[])?;
    let mut scanner = Scanner { document, at: 0, pointers: &[], hits: Vec::new(), duplicates: 0 };
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        return Ok(None);
    }
    scanner.enter(0)?;
    if scanner.leave(b'}') {
        return Ok(None);
    }
    loop {
        let raw = scanner.string()?;
        let text = std::str::from_utf8(&document[raw]).unwrap_or_default();
        // A key with a lone surrogate is no text.
        if let Some(key) = unescape(text)
            && wanted(&key)
        {
            return Ok(Some(key.into_owned()));
        }
        scanner.skip_space();
        // The colon: the document was checked.
        scanner.at += 1;
        scanner.skip_space();
        scanner.value(1, 0)?;
        if scanner.next_or_end(b'}')? {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_is_wanted_is_found() {
        let found = |document: &str| {
            first_key(document.as_bytes(), |key| key.ends_with('é')).map_err(|_| ())
        };
        let some = |key: &str| Ok(Some(key.to_owned()));
        assert_eq!(found(r#" {"a":{"é":1} , "b\u00e9" : [] ,"cé":2}"#), some("bé"));
        assert_eq!(found(r#"{"é":1}"#), some("é"));
        assert_eq!(found(r#"{"\ud800":1}"#), Ok(None));
        assert_eq!(found("{}"), Ok(None));
        assert_eq!(found("[\"é\"]"), Ok(None));
        assert_eq!(found("\"é\""), Ok(None));
        assert_eq!(found("{\"é\":1"), Err(()));
    }
}
