//! What the worker runs for a delivery: a call that leaves the house, or an effect in the transaction that
//! settles the delivery.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use super::settle::Ending;
use super::work::panic_text;
use crate::event::Event;
use crate::handler::{Context, Handler, Outcome, Reply};
use crate::statement::Filled;
use crate::store::effect::{Elsewhere, Kept, Refusal, Statements, Tx};

/// What a handler does with a delivery.
#[derive(Clone)]
pub enum Effect {
    /// A call: at least once.
    Call(Arc<dyn Handler>),
    /// Within the settling transaction: exactly once.
    InTransaction(Arc<dyn Transactional>),
    /// A call behind a fence in another database: as good as exactly once. It begins when a connection there is free.
    Elsewhere(Arc<StatementsElsewhere>),
}

/// An effect that is durable together with its delivery's settlement, or not at all.
#[async_trait::async_trait]
pub trait Transactional: Send + Sync + 'static {
    /// Does it, by statements on `tx` and nothing else: what leaves the house isn't undone. Anything
    /// but [`Outcome::Delivered`] rolls the transaction back, and so do a panic, the deadline, a lost
    /// lease and a shutdown. While it works the delivery's row is locked, and on SQLite the only writer.
    async fn apply(&self, tx: &mut Tx<'_>, event: &Event, context: &Context) -> Outcome;
}

/// Statements in our own database.
pub struct OwnStatements(pub Statements);

#[async_trait::async_trait]
impl Transactional for OwnStatements {
    async fn apply(&self, tx: &mut Tx<'_>, event: &Event, context: &Context) -> Outcome {
        let filled = match fill(&self.0, event, context) {
            Ok(filled) => filled,
            Err(outcome) => return outcome,
        };
        match self.0.apply(tx, &filled).await {
            Ok(()) => Outcome::done(),
            Err(refusal) => refused(refusal),
        }
    }
}

/// Statements in another database, behind a fence. It is called at least once; the fence there makes that
/// once.
pub struct StatementsElsewhere {
    /// The database.
    pub elsewhere: Elsewhere,
    /// The statements.
    pub statements: Statements,
}

#[async_trait::async_trait]
impl Handler for StatementsElsewhere {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let filled = match fill(&self.statements, event, context) {
            Ok(filled) => filled,
            Err(outcome) => return outcome,
        };
        let applied =
            self.elsewhere.apply(context.delivery, &self.statements, filled, context.timeout).await;
        match applied {
            Ok(_) => Outcome::done(),
            Err(refusal) => refused(refusal),
        }
    }
}

fn fill(statements: &Statements, event: &Event, context: &Context) -> Result<Filled, Outcome> {
    statements.script().fill(event, context.delivery).map_err(Outcome::reject)
}

fn refused(refusal: Refusal) -> Outcome {
    match refusal {
        Refusal::Again(cause) => Outcome::retry(cause),
        Refusal::Never(cause) => Outcome::reject(cause),
    }
}

/// Runs an effect within a transaction: what is kept of it, or how it ended otherwise.
pub(super) async fn within(
    effect: Arc<dyn Transactional>,
    mut tx: Tx<'_>,
    event: Event,
    context: Context,
) -> Result<Kept, Ending> {
    let guarded = AssertUnwindSafe(async { effect.apply(&mut tx, &event, &context).await });
    match guarded.catch_unwind().await {
        Ok(Outcome::Delivered(Reply { status, body, .. })) => {
            Ok(Kept { status, response: (!body.is_empty()).then_some(body) })
        }
        Ok(other) => Err(Ending::Returned(other)),
        Err(panic) => Err(Ending::Panicked(panic_text(panic.as_ref()))),
    }
}
