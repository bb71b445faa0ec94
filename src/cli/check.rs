//! `hookonce check`: config, secrets, handlers and database; every fault at once.

use super::failure::chain;
use super::output::count;
use super::serve::passed_on;
use super::{Failure, Global, Output};
use crate::config::Environment;
use crate::store::{Migrate, OpenError, Store, migrate};

pub(super) async fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let loaded = global.load()?;
    for warning in &loaded.warnings {
        output.warn(&warning.to_string());
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
