//! Checked names of sources and handlers.

use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of a source or a handler: `[a-z0-9]` first, then `[a-z0-9_.-]`, at most 64 bytes.
///
/// Cheap to clone. A name is part of a URL path, a metric label and a dedupe key, so it is checked
/// once here and trusted everywhere else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError(String);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a name: use 1 to {NAME_BYTES_MAX} of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let first_ok = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_ok = bytes.all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        });
        if first_ok && rest_ok && text.len() <= NAME_BYTES_MAX {
            Ok(Self(Arc::from(text)))
        } else {
            Err(NameError(text.chars().take(80).collect()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_lower_case_and_begins_with_a_letter_or_digit() {
        for good in ["stripe", "a", "stripe-eu", "on.stripe", "0", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "Stripe", "a b", "a/b", "ü", "a\0", &"x".repeat(NAME_BYTES_MAX + 1)]
        {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}
