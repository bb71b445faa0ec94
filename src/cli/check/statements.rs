//! Asks databases whether they understand the handlers' statements. Nothing is run.

use std::path::Path;

use crate::config::{Config, DatabaseSettings};
use crate::handler::{HandlerSettings, Kind, SqlSettings};
use crate::store::Store;
use crate::store::effect::{Elsewhere, Statements};

/// What is wrong with the statements that run in other databases.
pub(super) async fn elsewhere(config: &Config, file: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (handler, sql) in of(config) {
        let Some(name) = &sql.database else { continue };
        let Some(database) = config.databases.iter().find(|it| it.name == *name) else { continue };
        match ask(database, sql).await {
            Ok(found) => faults.extend(lines(handler, sql, file, found)),
            Err(why) => faults.push(format!("handler `{}`: {why}", handler.name)),
        }
    }
    faults
}

async fn ask(
    database: &DatabaseSettings,
    sql: &SqlSettings,
) -> Result<Vec<(usize, String)>, String> {
    let elsewhere = Elsewhere::new(database.name.clone(), &database.url)?;
    elsewhere.prepare(&Statements::new(sql.script.clone())).await
}

/// What is wrong with the statements that run in our own database.
pub(super) async fn own(config: &Config, store: &Store, file: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (handler, sql) in of(config).filter(|(_, sql)| sql.database.is_none()) {
        match store.prepare(&Statements::new(sql.script.clone())).await {
            Ok(found) => faults.extend(lines(handler, sql, file, found)),
            Err(error) => faults.push(format!(
                "handler `{}`: {}",
                handler.name,
                crate::cli::failure::chain(&error)
            )),
        }
    }
    faults
}

fn of(config: &Config) -> impl Iterator<Item = (&HandlerSettings, &SqlSettings)> {
    config.handlers.iter().filter_map(|handler| match &handler.kind {
        Kind::Sql(sql) => Some((handler, sql)),
        _ => None,
    })
}

fn lines(
    handler: &HandlerSettings,
    sql: &SqlSettings,
    file: &Path,
    found: Vec<(usize, String)>,
) -> Vec<String> {
    let place = |at: usize| sql.places.get(at).filter(|place| !place.is_empty());
    let begin = |at: usize| match place(at) {
        Some(place) => format!("{}:{place}", file.display()),
        None => file.display().to_string(),
    };
    let whose = match &sql.database {
        Some(name) => format!("the database `{name}`"),
        None => "our own database".to_owned(),
    };
    let said = |(at, why): (usize, String)| {
        format!(
            "{}: statement {} of `{}` is not understood by {whose}: {why}",
            begin(at),
            at + 1,
            handler.name
        )
    };
    found.into_iter().map(said).collect()
}
