//! What the worker runs for each configured handler.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::config::DatabaseSettings;
use crate::event::Event;
use crate::handler::{Context, HandlerSettings, Kind, Outcome, SqlSettings, Variables};
use crate::store::effect::{Elsewhere, Statements, Tx};
use crate::worker::effect::{Effect, OwnStatements, StatementsElsewhere, Transactional};

/// Makes what a handler's settings say. Touches no network and no database.
pub(super) fn effect_of(
    settings: &HandlerSettings,
    environment: &Variables,
    databases: &[DatabaseSettings],
) -> Result<Effect, String> {
    match &settings.kind {
        Kind::Sql(sql) => {
            statements(sql, databases).map_err(|why| format!("handler `{}`: {why}", settings.name))
        }
        _ => crate::handler::build_in(settings, environment).map(Effect::Call),
    }
}

fn statements(sql: &SqlSettings, databases: &[DatabaseSettings]) -> Result<Effect, String> {
    let statements = Statements::new(sql.script.clone());
    let Some(name) = &sql.database else {
        return Ok(Effect::InTransaction(Arc::new(OwnStatements(statements))));
    };
    let found = databases.iter().find(|database| database.name == *name);
    let database = found.ok_or_else(|| format!("there is no database `{name}`"))?;
    let elsewhere = Elsewhere::new(name.clone(), &database.url)?;
    Ok(Effect::Elsewhere(Arc::new(StatementsElsewhere { elsewhere, statements })))
}

struct InTransaction<F>(F);

#[async_trait::async_trait]
impl<F> Transactional for InTransaction<F>
where
    F: for<'t> Fn(Event, Context, Tx<'t>) -> BoxFuture<'t, Outcome> + Send + Sync + 'static,
{
    async fn apply(&self, tx: &mut Tx<'_>, event: &Event, context: &Context) -> Outcome {
        (self.0)(event.clone(), context.clone(), tx.reborrow()).await
    }
}

/// A function that works in the settling transaction.
pub(super) fn in_transaction<F>(function: F) -> Effect
where
    F: for<'t> Fn(Event, Context, Tx<'t>) -> BoxFuture<'t, Outcome> + Send + Sync + 'static,
{
    Effect::InTransaction(Arc::new(InTransaction(function)))
}
