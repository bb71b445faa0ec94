//! Keys of the contract whose feature isn't built yet: refused, never accepted and inert.

/// Paths with `*` for any name.
const NOT_BUILT: &[&str] =
    &["server.tls", "database.spool", "telemetry.otlp", "notify", "sources.*.expect_every"];

/// What to say about a key that is known but not built; `None` for any other key.
pub(crate) fn reason(path: &[&str], key: &str) -> Option<String> {
    NOT_BUILT
        .iter()
        .any(|pattern| matches(pattern, path, key))
        .then(|| format!("`{key}` is not built yet: remove it"))
}

fn matches(pattern: &str, path: &[&str], key: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut got = path.iter().copied().chain(std::iter::once(key));
    loop {
        match (wanted.next(), got.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(got)) if wanted == got => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_paths_only() {
        assert!(reason(&["server"], "tls").is_some());
        assert!(reason(&["sources", "stripe"], "expect_every").is_some());
        assert!(reason(&[], "notify").is_some());
        assert!(reason(&["sources"], "expect_every").is_none());
        assert!(reason(&["sources", "stripe", "event"], "expect_every").is_none());
        assert!(reason(&["server"], "listen").is_none());
    }
}
