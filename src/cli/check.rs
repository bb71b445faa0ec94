//! `hookonce check`: config, secrets, handlers and database; every fault at once.

use std::path::Path;

use super::failure::chain;
use super::output::count;
use super::serve::passed_on;
use super::{Failure, Global, Output};
use crate::config::{self, Config, Environment};
use crate::handler::{HandlerSettings, Kind};
use crate::source::Facts;
use crate::store::{Migrate, OpenError, Store, migrate};
use crate::verify::Integrity;

mod statements;

pub(super) async fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let loaded = global.load()?;
    for warning in &loaded.warnings {
        output.warn(&warning.to_string());
    }
    for source in &loaded.config.sources {
        if let Ok(facts) = source.spec.facts() {
            output.say(&format!("source {}: {}", source.name, proves(&facts)));
        }
    }
    let mut faults = Vec::new();
    let environment =
        Environment::of_process().only(passed_on(&loaded.config).iter().map(String::as_str));
    let is_call = |handler: &&HandlerSettings| !matches!(handler.kind, Kind::Sql(_));
    for handler in loaded.config.handlers.iter().filter(is_call) {
        if let Err(why) = crate::handler::build_in(handler, &environment) {
            faults.push(why);
        }
    }
    let file = loaded.path.as_deref().unwrap_or(Path::new(config::FILE));
    faults.extend(functions(&loaded.config, file));
    faults.extend(statements::elsewhere(&loaded.config, file).await);
    match database(&loaded.config, file).await {
        Ok((said, found)) => {
            output.say(&said);
            faults.extend(found);
        }
        Err(error) => faults.push(format!("database: {}", chain(&error))),
    }
    if faults.is_empty() {
        let config = &loaded.config;
        output.say(&format!(
            "all is well: {}, {}",
            count(config.sources.len(), "source"),
            count(config.handlers.len(), "handler")
        ));
        return Ok(());
    }
    // Contract: a check that finds anything exits 2, whatever it is.
    Err(Failure::Usage(faults.join("\n")))
}

/// What a source's scheme proves, in a line.
fn proves(facts: &Facts) -> String {
    let body = match facts.integrity {
        Integrity::Full => "covers the whole body",
        Integrity::Partial => "covers some values of the body",
        Integrity::None => "does not cover the body",
    };
    let id = if facts.id_signed { "signed" } else { "not signed" };
    let kind = if facts.type_signed { "" } else { "; the type is not signed" };
    let fresh = if facts.fresh { "a signed time limits its age" } else { "nothing limits its age" };
    let places = facts.id_places.join(", else ");
    format!(
        "{} {body} (integrity {}); {fresh}; id from {places}, {id}{kind}",
        facts.scheme,
        facts.integrity.as_str()
    )
}

/// Functions in Rust that are to answer for a source: this program has none, and would not start.
fn functions(config: &Config, file: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for source in &config.sources {
        let Some(respond) = &source.respond else { continue };
        if config.handlers.iter().any(|it| it.name == respond.handler) {
            continue;
        }
        let path = ["sources", source.name.as_str(), "respond", "handler"];
        let why = format!(
            "`{}` is a function of a program that embeds hookonce, and this one has none: name a handler of the config that has `http` or `exec`",
            respond.handler
        );
        faults.push(config::fault_in(file, &Environment::of_process(), &path, why));
    }
    faults
}

/// Looks at the database without changing it.
///
/// Statements of handlers are asked for once our tables are there: they may name them.
async fn database(config: &Config, file: &Path) -> Result<(String, Vec<String>), OpenError> {
    let settings = &config.store;
    let steps = migrate::status(settings).await?;
    let missing = steps.iter().filter(|step| !step.applied).count();
    if missing > 0 {
        return match settings.migrate {
            Migrate::Auto => {
                let missing = count(missing, "migration");
                let said = format!("database: {missing} to apply, which `serve` will do");
                let unasked = config.handlers.iter().any(
                    |handler| matches!(&handler.kind, Kind::Sql(sql) if sql.database.is_none()),
                );
                let more = if unasked { "; `sql` statements are checked after that" } else { "" };
                Ok((format!("{said}{more}"), Vec::new()))
            }
            Migrate::Check | Migrate::Off => Err(OpenError::Migration(format!(
                "{missing} missing; run `hookonce migrate up`, or set migrate = \"auto\""
            ))),
        };
    }
    let store = Store::open_beside(settings).await?;
    let found = statements::own(config, &store, file).await;
    store.close().await;
    Ok(("database: reachable and up to date".to_owned(), found))
}
