//! The config: what the file may say ([`file`]) and what the program uses ([`Config`]).
//!
//! All defaults are decided once, in `resolve`; all faults are reported at once, each with its
//! line and column. No room below imports this one: each owns its settings, and an embedder builds
//! them without a file.

use std::path::Path;
use std::sync::Arc;

use crate::handler::HandlerSettings;
use crate::handler::shape::Isolation;
use crate::http::{AdminSettings, GatewaySettings, ServerSettings};
use crate::intake::IntakeSettings;
use crate::source::SourceSettings;
use crate::store::{Retention, StoreSettings};
use crate::telemetry::TelemetrySettings;
use crate::upkeep::CleanupSettings;

mod check;
mod decode;
mod desk;
pub mod dev;
pub mod env;
mod file;
mod not_built;
mod place;
mod resolve;
pub mod schema;
mod secrets;
pub mod show;
mod tree;
mod value;

pub use env::Environment;
pub(crate) use place::did_you_mean;
pub use place::{Fault, Faults, Place, Warning};

/// The config's file, unless the command line names another.
pub const FILE: &str = "hookonce.toml";

/// What `hookonce init` writes: every key with its default, explained.
pub const EXAMPLE: &str = include_str!("config/default.toml");

/// What the program uses: no value is missing, and none means "default".
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listener.
    pub server: ServerSettings,
    /// The admin listener.
    pub admin: AdminSettings,
    /// Where the tables are.
    pub store: StoreSettings,
    /// How much may wait for the database.
    pub intake: IntakeSettings,
    /// Configured origins, by name.
    pub sources: Vec<SourceSettings>,
    /// Where events go, by name.
    pub handlers: Vec<HandlerSettings>,
    /// Other databases that handlers write to, by name.
    pub databases: Vec<DatabaseSettings>,
    /// Idempotency-Key in front of APIs, by name.
    pub gateways: Vec<GatewaySettings>,
    /// When and how expired rows are deleted.
    pub cleanup: CleanupSettings,
    /// How long each kind of row lives.
    pub retention: Retention,
    /// What is told about itself.
    pub telemetry: TelemetrySettings,
}

/// Another database of the operator's.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Its name.
    pub name: entity::Name,
    /// Where it is; may hold a password.
    pub url: crate::secret::Secret,
}

impl Config {
    /// Reads a config file, lays the environment's `HOOKONCE__…` variables over it, and checks the
    /// whole. Without a path, the environment and the defaults are all there is.
    ///
    /// Reads the file and the files of secrets; touches nothing else. Relative paths in the file are
    /// looked up beside it.
    pub fn load(path: Option<&Path>, env: &Environment) -> Result<(Self, Vec<Warning>), Faults> {
        let Some(path) = path else {
            return Self::read("", "(environment)", env, Path::new(""));
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|why| {
            let help = match why.kind() {
                std::io::ErrorKind::NotFound => {
                    "there is no such file; `hookonce init` writes one".to_owned()
                }
                _ => format!("it can't be read: {why}"),
            };
            Faults::new(&name, vec![Fault::new(Place::Whole, help)])
        })?;
        Self::read(&text, &name, env, path.parent().unwrap_or(Path::new("")))
    }

    /// As [`Config::load`], from a text; `name` is what faults call it, `dir` is where relative paths
    /// are looked up.
    pub fn read(
        text: &str,
        name: &str,
        env: &Environment,
        dir: &Path,
    ) -> Result<(Self, Vec<Warning>), Faults> {
        let (mut tree, mut faults) = tree::parse(text);
        if !faults.is_empty() {
            // What a broken text means can only be guessed: its other faults would mislead.
            return Err(Faults::new(name, faults));
        }
        env.overlay(&mut tree, &mut faults);
        let file: file::File = decode::decode(&tree, &[], keys_of_specs, &mut faults);
        let mut desk = desk::Desk { tree: &tree, env, dir, faults, warnings: Vec::new() };
        let config = resolve::config(&mut desk, &file);
        let warnings = desk.warnings.into_iter().map(|it| Warning::new(name, it)).collect();
        if desk.faults.is_empty() {
            Ok((config, warnings))
        } else {
            Err(Faults::new(name, desk.faults).with_warnings(warnings))
        }
    }

    /// The same, with each handler's `transform`, and a `when` that goes through lists, in processes of their
    /// own, by a `hookonce` program of this version. Then no event can end this process through a filter that
    /// recurses without end or takes all memory, and one that takes too long is ended.
    ///
    /// The program `hookonce` does so by itself. Who embeds the library has threads unless this is called.
    #[must_use]
    pub fn isolated(mut self, isolation: &Isolation) -> Self {
        for handler in &mut self.handlers {
            handler.shape = handler.shape.take().map(|shape| Arc::new(shape.isolated(isolation)));
        }
        self
    }
}

/// What is wrong with the value at `path` of a config that could be read, with the place where it stands.
pub(crate) fn fault_in(
    file: &Path,
    env: &Environment,
    path: &[&str],
    message: impl Into<String>,
) -> String {
    // One that is gone by now has no lines, and is named all the same.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let (mut tree, mut faults) = tree::parse(&text);
    env.overlay(&mut tree, &mut faults);
    Fault::new(tree.place_of(path), message).line(&file.display().to_string())
}

/// A source's table also holds the vocabulary of presets, which is read apart.
fn keys_of_specs(path: &[&str]) -> Option<&'static [&'static str]> {
    match path {
        ["sources", _] => Some(resolve::source::spec_keys()),
        _ => Some(&[]),
    }
}

#[cfg(test)]
mod tests;
