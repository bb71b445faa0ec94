//! Secrets: never logged, never compared but in constant time, refused when they protect nothing.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The shortest HMAC key, in bytes after decoding.
pub const HMAC_KEY_BYTES_MIN: usize = 16;

/// The shortest token, and the shortest password of `user:password`, in bytes.
pub const TOKEN_BYTES_MIN: usize = 8;

/// A secret as the operator gave it. Its `Debug` hides it; there is no `PartialEq`.
#[derive(Clone)]
pub struct Secret(SecretString);

/// What a secret is used for, which decides what is too weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A key that makes a MAC.
    HmacKey {
        /// Its length once it is decoded, in bytes.
        bytes: usize,
    },
    /// A text that the sender shows as it is.
    Token,
    /// `user:password`.
    Basic,
    /// A public key, or a private one of a source of tests.
    PublicKey,
}

/// Tells whether two secrets are the same, and nothing else about them. Its `Debug` hides it,
/// because the fingerprint of a weak secret can be guessed back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

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

    /// Refuses a secret that protects nothing: empty, a placeholder, or too short for its use.
    ///
    /// The error says what is wrong and what to do, and never shows the secret.
    pub fn check(&self, kind: SecretKind) -> Result<(), String> {
        let text = self.expose();
        if text.is_empty() {
            return Err("is empty: set it to the provider's secret".to_owned());
        }
        if text.trim().is_empty() {
            return Err("is only white space: set it to the provider's secret".to_owned());
        }
        // A key in PEM ends with a line's end.
        if text.trim() != text && kind != SecretKind::PublicKey {
            return Err(
                "begins or ends with white space, which providers never do: remove it".to_owned()
            );
        }
        if is_unresolved(text) {
            return Err("is a variable that was not resolved: write { env = \"NAME\" }".to_owned());
        }
        // The placeholder is looked for in the password too: `user:changeme` protects nothing.
        let password = text.split_once(':').map_or(text, |(_, password)| password);
        if is_placeholder(text) || (kind == SecretKind::Basic && is_placeholder(password)) {
            return Err("is a placeholder: set it to the provider's secret".to_owned());
        }
        match kind {
            SecretKind::HmacKey { bytes } if bytes < HMAC_KEY_BYTES_MIN => Err(format!(
                "is a key of {bytes} bytes, which can be guessed: use at least {HMAC_KEY_BYTES_MIN}"
            )),
            SecretKind::Token if text.len() < TOKEN_BYTES_MIN => Err(format!(
                "is a token of {} bytes, which can be guessed: use at least {TOKEN_BYTES_MIN}",
                text.len()
            )),
            SecretKind::Basic if !text.contains(':') => {
                Err("has no colon: write it as \"user:password\"".to_owned())
            }
            SecretKind::Basic if password.len() < TOKEN_BYTES_MIN => Err(format!(
                "has a password of {} bytes, which can be guessed: use at least {TOKEN_BYTES_MIN}",
                password.len()
            )),
            SecretKind::HmacKey { .. }
            | SecretKind::Token
            | SecretKind::Basic
            | SecretKind::PublicKey => Ok(()),
        }
    }

    /// For spotting one secret on two sources without showing it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"hookonce secret fingerprint\0");
        hash.update(self.expose().as_bytes());
        Fingerprint(hash.finalize().into())
    }
}

/// Texts that stand where a secret should: compared without case, as a whole.
const PLACEHOLDERS: &[&str] = &[
    "api_key",
    "change-me",
    "change_me",
    "changeit",
    "changeme",
    "default",
    "dummy",
    "example",
    "fixme",
    "foobar",
    "insert_secret_here",
    "my-secret",
    "my_secret",
    "mysecret",
    "none",
    "null",
    "password",
    "placeholder",
    "replace-me",
    "replace_me",
    "replaceme",
    "s3cr3t",
    "secret",
    "secret_here",
    "shhh",
    "signing_secret",
    "test",
    "test_secret",
    "todo",
    "token",
    "undefined",
    "webhook_secret",
    "webhooksecret",
    "your-secret",
    "your-secret-here",
    "your-webhook-secret",
    "your_secret",
    "your_secret_here",
    "your_signing_secret",
    "your_token",
    "your_webhook_secret",
    "yoursecret",
];

fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("whsec_").unwrap_or(&lower);
    if bare.is_empty() || PLACEHOLDERS.contains(&bare) {
        return true;
    }
    // `<secret>`, `[secret]`, `xxxxxxxx`, `********`, `...`, `…`
    let bracketed =
        [('<', '>'), ('[', ']')].iter().any(|(a, b)| bare.starts_with(*a) && bare.ends_with(*b));
    bracketed
        || ['x', '*', '.', '\u{2026}', '-', '_', '0'].iter().any(|c| bare.chars().all(|d| d == *c))
}

fn is_unresolved(text: &str) -> bool {
    let name = |s: &str| {
        !s.is_empty()
            && s.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    (text.starts_with("${") && text.ends_with('}'))
        || (text.starts_with("{{") && text.ends_with("}}"))
        || (text.starts_with('%') && text.ends_with('%') && text.len() > 2)
        || text.strip_prefix('$').is_some_and(name)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: SecretKind) -> Result<(), String> {
        Secret::new(text.to_owned()).check(kind)
    }

    #[test]
    fn a_secret_that_protects_nothing_is_refused() {
        let long = SecretKind::HmacKey { bytes: 99 };
        for bad in [
            "",
            "   ",
            "\n",
            "changeme",
            "ChangeMe",
            "secret",
            "whsec_...",
            "whsec_",
            "whsec_xxxxxxxxxxxxxxxxxxxx",
            "<secret>",
            "<your webhook secret>",
            "xxx",
            "xxxxxxxxxxxxxxxxxxxxxxxx",
            "your_secret",
            "$STRIPE_SECRET",
            "${STRIPE_SECRET}",
            "${STRIPE_SECRET:-}",
            "{{ secret }}",
            "a-good-and-long-secret\n",
            " a-good-and-long-secret",
        ] {
            for kind in [long, SecretKind::Token] {
                assert!(check(bad, kind).is_err(), "{bad:?} as {kind:?}");
            }
        }
    }

    #[test]
    fn a_key_in_pem_ends_with_a_line() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
        assert!(check(pem, SecretKind::PublicKey).is_ok());
        assert!(check("0123456789abcdef\n", SecretKind::Token).is_err());
    }

    #[test]
    fn length_is_judged_by_use() {
        assert!(check("0123456789abcde", SecretKind::HmacKey { bytes: 15 }).is_err());
        assert!(check("0123456789abcdef", SecretKind::HmacKey { bytes: 16 }).is_ok());
        assert!(check("1234567", SecretKind::Token).is_err());
        assert!(check("12345678", SecretKind::Token).is_ok());
        assert!(check("s3cr3t-token", SecretKind::Token).is_ok());
        assert!(check("It's a Secret to Everybody", SecretKind::HmacKey { bytes: 26 }).is_ok());
        assert!(check("user:12345678", SecretKind::Basic).is_ok());
        assert!(check("user:1234567", SecretKind::Basic).is_err());
        assert!(check("user:changeme", SecretKind::Basic).is_err());
        assert!(check("user-and-password", SecretKind::Basic).is_err());
    }

    #[test]
    fn no_error_shows_the_secret_and_no_debug_either() {
        let secret = Secret::new("hunter2".to_owned());
        let error = secret.check(SecretKind::Token).expect_err("too short");
        assert!(!error.contains("hunter2"));
        assert!(!format!("{secret:?} {:?}", secret.fingerprint()).contains("hunter2"));
    }

    #[test]
    fn equal_secrets_and_only_they_have_equal_fingerprints() {
        let of = |text: &str| Secret::new(text.to_owned()).fingerprint();
        assert!(of("one") == of("one"));
        assert!(of("one") != of("two"));
    }
}
