//! Secrets: never logged, never compared but in constant time, refused when they protect nothing.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A secret as the operator gave it. Its `Debug` hides it; there is no `PartialEq`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text, for the one who signs or compares with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
