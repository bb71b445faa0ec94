//! Secrets: where the operator keeps them, and what is said when they can't be had.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::env::Environment;
use crate::secret::Secret;

/// The largest file that is read as a secret: a PEM chain fits, a mistaken path doesn't hurt.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is: exactly one of the three. No `Debug`: `value` is the secret itself.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "{ env = \"NAME\" } or { file = \"/run/secrets/name\" }"
)]
pub(crate) struct FileSecret {
    /// The environment variable that holds it.
    pub(crate) env: Option<String>,
    /// The file that holds it; one newline at its end is left out.
    pub(crate) file: Option<PathBuf>,
    /// The secret itself. Works, and warns.
    pub(crate) value: Option<String>,
}

/// A text, or where a secret is.
pub(crate) enum TextOrSecret {
    /// As written.
    Text(String),
    /// To be read.
    Secret(FileSecret),
}

impl<'de> Deserialize<'de> for TextOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = TextOrSecret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes, { env = \"NAME\" } or { file = \"…\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrSecret, E> {
                Ok(TextOrSecret::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOrSecret, A::Error> {
                FileSecret::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(TextOrSecret::Secret)
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

impl JsonSchema for TextOrSecret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextOrSecret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<FileSecret>();
        json_schema!({ "anyOf": [{ "type": "string" }, secret] })
    }
}

impl FileSecret {
    /// Whether the secret stands in the file itself.
    pub(crate) fn is_in_the_open(&self) -> bool {
        self.value.is_some()
    }

    /// Reads the secret. The error says what is wrong and what to do; it never shows the secret.
    ///
    /// A relative path is looked up under `dir`.
    pub(crate) fn read(&self, env: &Environment, dir: &Path) -> Result<Secret, String> {
        let text = match (&self.env, &self.file, &self.value) {
            (Some(name), None, None) => {
                env.get(name).map_err(|why| format!("environment variable {name} {why}"))?
            }
            (None, Some(path), None) => read_file(&dir.join(path))?,
            (None, None, Some(value)) => value.clone(),
            (None, None, None) => {
                return Err(
                    "say where the secret is: { env = \"NAME\" } or { file = \"…\" }".into()
                );
            }
            _ => return Err("a secret has exactly one of `env`, `file` and `value`".into()),
        };
        if text.trim().is_empty() {
            return Err("the secret is empty".into());
        }
        Ok(Secret::new(text))
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = std::fs::metadata(path)
        .map_err(|why| format!("the secret's file {shown} can't be read: {why}"))?
        .len();
    if size > SECRET_BYTES_MAX {
        return Err(format!("the secret's file {shown} is larger than {SECRET_BYTES_MAX} bytes"));
    }
    let mut text = std::fs::read_to_string(path)
        .map_err(|why| format!("the secret's file {shown} can't be read: {why}"))?;
    // One newline is what editors and `echo` add; more would be part of the secret.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &Path) -> FileSecret {
        FileSecret { file: Some(path.to_owned()), ..FileSecret::default() }
    }

    #[test]
    fn one_newline_at_the_end_of_a_file_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (written, want) in
            [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), ("abc ", "abc ")]
        {
            std::fs::write(dir.path().join("s"), written).unwrap();
            let secret = file(Path::new("s")).read(&Environment::default(), dir.path()).unwrap();
            assert_eq!(secret.expose(), want);
        }
    }

    #[test]
    fn what_is_missing_is_named_and_the_secret_is_not_shown() {
        let env = Environment::from_pairs([("EMPTY", " ")]);
        let dir = Path::new("/nowhere");
        let by_env = |name: &str| FileSecret { env: Some(name.into()), ..FileSecret::default() };
        let fault = |secret: FileSecret| secret.read(&env, dir).unwrap_err();
        assert_eq!(fault(by_env("NONE")), "environment variable NONE is not set");
        assert_eq!(fault(by_env("EMPTY")), "the secret is empty");
        assert!(
            fault(file(Path::new("x"))).starts_with("the secret's file /nowhere/x can't be read")
        );
        let two = FileSecret { value: Some("hush".into()), ..by_env("NONE") };
        assert!(!fault(two).contains("hush"));
        assert!(fault(FileSecret::default()).contains("say where"));
    }
}
