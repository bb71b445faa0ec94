//! `hookonce config`: as it is used, and its schema.

use super::global::Format;
use super::{Failure, Global, Output};
use crate::config::{schema, show};

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// The effective config, every default written out, secrets hidden.
    Show,
    /// The JSON Schema of hookonce.toml.
    Schema,
}

pub(super) fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Schema => output.json(&schema::schema()),
        Verb::Show => {
            let table = show::table(&global.load()?.config);
            if output.format() != Format::Table {
                return output.json(&table);
            }
            let text = toml::to_string(&table)
                .map_err(|why| Failure::Failed(format!("the config can't be written: {why}")))?;
            output.line(text.trim_end())
        }
    }
}
