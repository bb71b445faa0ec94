//! `hookonce check`: config, secrets, handlers and database; every fault at once.

use super::failure::chain;
use super::output::count;
use super::serve::passed_on;
use super::{Failure, Global, Output};
use crate::config::Environment;
use crate::source::Facts;
use crate::store::{Migrate, OpenError, Store, migrate};
use crate::verify::Integrity;

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
    for handler in &loaded.config.handlers {
        if let Err(why) = crate::handler::build_in(handler, &environment) {
            faults.push(why);
        }
    }
    match database(&loaded.config.store).await {
        Ok(said) => output.say(&said),
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
    let fresh = if facts.fresh { "a signed time limits its age" } else { "nothing limits its age" };
    let places = facts.id_places.join(", else ");
    format!(
        "{} {body} (integrity {}); {fresh}; id from {places}, {id}",
        facts.scheme,
        facts.integrity.as_str()
    )
}

/// Looks at the database without changing it.
async fn database(settings: &crate::store::StoreSettings) -> Result<String, OpenError> {
    let steps = migrate::status(settings).await?;
    let missing = steps.iter().filter(|step| !step.applied).count();
    if missing > 0 {
        return match settings.migrate {
            Migrate::Auto => Ok(format!(
                "database: {} to apply, which `serve` will do",
                count(missing, "migration")
            )),
            Migrate::Check | Migrate::Off => Err(OpenError::Migration(format!(
                "{missing} missing; run `hookonce migrate up`, or set migrate = \"auto\""
            ))),
        };
    }
    let store = Store::open_beside(settings).await?;
    store.close().await;
    Ok("database: reachable and up to date".to_owned())
}
