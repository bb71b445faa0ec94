//! Options that every verb has, and the config that they lead to.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};
use url::Url;

use super::{Failure, Output};
use crate::config::{self, Config, Environment, Warning, dev, env};
use crate::handler::shape::Isolation;
use crate::secret::Secret;

/// Options that every verb has.
#[derive(Args)]
pub struct Global {
    /// The config's file [default: hookonce.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the admin API of a running daemon instead of the database
    #[arg(long, global = true, value_name = "URL")]
    url: Option<Url>,
    /// The admin API's token
    #[arg(long, global = true, env = "HOOKONCE_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How data is printed: table, json or jsonl; of `record`, the file that is written
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table", value_parser = To::read)]
    output: To,
    /// Say nothing but data and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more; twice, much more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Don't ask before something is taken away
    #[arg(long, global = true)]
    yes: bool,
    /// Who runs filters; `None` where this process is another program than ours, such as a test.
    #[arg(skip)]
    isolation: Option<Isolation>,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// `-o`: for most verbs a form, for the one that makes a file its name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Format(Format),
    File(PathBuf),
}

impl To {
    /// Never fails: whether a file's name makes sense, only the verb knows.
    fn read(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(match Format::from_str(text, false) {
            Ok(format) => Self::Format(format),
            Err(_) => Self::File(PathBuf::from(text)),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// A config, and where it came from.
pub struct Loaded {
    /// What is used.
    pub config: Config,
    /// Doubts.
    pub warnings: Vec<Warning>,
    /// The file; `None` in dev mode.
    pub path: Option<PathBuf>,
}

impl Global {
    /// Has filters run by this very program. Only for the one whose `main` answers to a worker's argument:
    /// any other would start itself again and again.
    pub(super) fn isolate_by_this_program(&mut self) {
        let zone = Environment::of_process().only(["TZ"]).remove("TZ");
        self.isolation = env::this_program().map(|it| Isolation::by(it).in_time_zone(zone));
    }

    /// The config with its filters where they belong.
    pub(super) fn isolated(&self, config: Config) -> Config {
        match &self.isolation {
            Some(isolation) => config.isolated(isolation),
            None => config,
        }
    }

    /// How to talk.
    #[must_use]
    pub fn output(&self) -> Output {
        let format = match self.output {
            To::Format(format) => format,
            To::File(_) => Format::Table,
        };
        Output::new(format, self.quiet, self.color())
    }

    /// The file that `-o` names.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.output {
            To::Format(_) => None,
            To::File(file) => Some(file),
        }
    }

    /// Refuses a file's name where `-o` says how data is printed.
    pub fn check_format(&self) -> Result<(), Failure> {
        match self.file() {
            None => Ok(()),
            Some(file) => Err(Failure::Usage(format!(
                "-o {}: data is printed as table, json or jsonl",
                file.display()
            ))),
        }
    }

    /// Whether colours were asked for; `None` for "on a terminal only".
    #[must_use]
    pub fn color(&self) -> Option<bool> {
        match self.color {
            Color::Auto => None,
            Color::Always => Some(true),
            Color::Never => Some(false),
        }
    }

    /// The admin API that was asked for.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    /// The token for it.
    #[must_use]
    pub fn token(&self) -> Option<Secret> {
        self.token.clone().map(Secret::new)
    }

    /// How often `-v` was given.
    #[must_use]
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn yes(&self) -> bool {
        self.yes
    }

    /// Whether `-q` was given.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// The config's file, whether it exists or not.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(config::FILE))
    }

    /// Whether a config was named, or lies here.
    #[must_use]
    pub fn has_config(&self) -> bool {
        self.config.is_some() || Path::new(config::FILE).exists()
    }

    /// Reads the config's file. A missing one is a fault: a config that is mounted wrong must not
    /// look healthy.
    pub fn load_file(&self) -> Result<Loaded, Failure> {
        let path = self.config_path();
        let (config, warnings) = Config::load(Some(path), &Environment::of_process())?;
        Ok(Loaded { config: self.isolated(config), warnings, path: Some(path.to_owned()) })
    }

    /// Reads the config's file, or dev mode's config when there is none and dev mode has run here.
    pub fn load(&self) -> Result<Loaded, Failure> {
        if self.has_config() {
            return self.load_file();
        }
        let here = Path::new("");
        if !dev::exists(here) {
            return Err(Failure::Usage(format!(
                "there is no {} here: `hookonce init` writes one, and `hookonce` alone starts dev mode",
                config::FILE
            )));
        }
        let dev = dev::load(here, &Environment::of_process())?;
        Ok(Loaded { config: self.isolated(dev.config), warnings: Vec::new(), path: None })
    }
}
