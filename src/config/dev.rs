//! Dev mode: a config that needs no file, with demo sources whose secrets are made once and kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;

use super::{Config, Environment, Faults};
use crate::secret::Secret;

/// Where dev mode keeps everything: it may be deleted at any time.
pub const DIR: &str = ".hookonce";

/// The demo sources: each has its preset's name.
pub const SOURCES: &[&str] = &["stripe", "github", "shopify", "slack", "standard-webhooks"];

/// Dev mode's config and what its banner shows.
#[derive(Debug)]
pub struct Dev {
    /// The config.
    pub config: Config,
    /// Each demo source's secret, in the order of [`SOURCES`].
    pub secrets: Vec<(&'static str, Secret)>,
}

/// Why dev mode can't start.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A file under `.hookonce` can't be read or written.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// `secrets.toml` is not what we wrote.
    #[error("{path} can't be read; delete it, and new secrets are made", path = .0.display())]
    Secrets(PathBuf),
    /// An environment variable is wrong.
    #[error("{0}")]
    Config(#[from] Faults),
}

/// Whether dev mode has run in this directory.
#[must_use]
pub fn exists(dir: &Path) -> bool {
    dir.join(DIR).join("secrets.toml").is_file()
}

/// Dev mode's config for a directory; makes `.hookonce` and the secrets when they aren't there.
pub fn load(dir: &Path, env: &Environment) -> Result<Dev, DevError> {
    let home = dir.join(DIR);
    let file = home.join("secrets.toml");
    make_dir(&home).map_err(|why| DevError::File { path: home.clone(), why })?;
    let mut texts = match fs::read_to_string(&file) {
        Ok(text) => toml::from_str::<BTreeMap<String, String>>(&text)
            .map_err(|_| DevError::Secrets(file.clone()))?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(why) => return Err(DevError::File { path: file, why }),
    };
    let before = texts.len();
    let mut secrets = Vec::new();
    for source in SOURCES {
        let text = texts.entry((*source).to_owned()).or_insert_with(|| fresh(source));
        secrets.push((*source, Secret::new(text.clone())));
    }
    if texts.len() != before {
        keep(&file, &texts).map_err(|why| DevError::File { path: file, why })?;
    }
    let mut env = env.clone();
    for (source, secret) in &secrets {
        env.set(variable(source), secret.expose());
    }
    let (config, _) = Config::read(&text(), "dev mode", &env, dir)?;
    Ok(Dev { config, secrets })
}

/// No shell can set such a name, so it can't clash.
fn variable(source: &str) -> String {
    format!("dev mode: {source}")
}

fn text() -> String {
    let mut text = format!("[database]\nurl = \"sqlite://{DIR}/hookonce.db\"\n");
    for source in SOURCES {
        let variable = variable(source);
        text += &format!(
            "[sources.{source}]\nprovider = \"{source}\"\nsecrets = [{{ env = \"{variable}\" }}]\n"
        );
    }
    text + &format!("[handlers.log]\nfrom = {SOURCES:?}\nlog = {{}}\n")
}

/// A secret in the form in which the provider would give it.
fn fresh(source: &str) -> String {
    let bytes: [u8; 32] = rand::random();
    match source {
        // Taken verbatim, prefix and all.
        "stripe" => format!("whsec_{}", hex::encode(&bytes[..16])),
        "standard-webhooks" => {
            format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(&bytes[..24]))
        }
        "slack" => hex::encode(&bytes[..16]),
        _ => hex::encode(bytes),
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Writes the secrets beside and renames, so that nobody reads half a file.
fn keep(path: &Path, secrets: &BTreeMap<String, String>) -> io::Result<()> {
    let text = toml::to_string(secrets).map_err(io::Error::other)?;
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&beside)?;
    file.write_all(b"# Dev mode's secrets. Delete this file, and new ones are made.\n")?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_second_start_finds_the_first_ones_secrets() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!exists(dir.path()));
        let first = load(dir.path(), &Environment::default()).unwrap();
        assert!(exists(dir.path()));
        let second = load(dir.path(), &Environment::default()).unwrap();
        for ((_, a), (_, b)) in first.secrets.iter().zip(&second.secrets) {
            assert_eq!(a.expose(), b.expose());
        }
        assert_eq!(first.config.sources.len(), SOURCES.len());
        assert!(first.config.server.listen.ip().is_loopback());
        assert!(first.config.store.url.ends_with("/.hookonce/hookonce.db"));
        assert_eq!(first.config.handlers[0].from.len(), SOURCES.len());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_the_secrets() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), &Environment::default()).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode();
        assert_eq!(mode(".hookonce/secrets.toml") & 0o777, 0o600);
        assert_eq!(mode(".hookonce") & 0o777, 0o700);
    }

    #[test]
    fn a_variable_counts_in_dev_mode_too() {
        let dir = tempfile::tempdir().unwrap();
        let env = Environment::from_pairs([("HOOKONCE__SERVER__LISTEN", "127.0.0.1:9")]);
        assert_eq!(load(dir.path(), &env).unwrap().config.server.listen.port(), 9);
        let env = Environment::from_pairs([("HOOKONCE__SERVER__LISTNE", "127.0.0.1:9")]);
        let fault = load(dir.path(), &env).unwrap_err().to_string();
        assert_eq!(fault, "HOOKONCE__SERVER__LISTNE: unknown key `listne`; did you mean `listen`?");
    }
}
