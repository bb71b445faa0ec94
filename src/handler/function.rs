//! A Rust function as a handler, for embedders.

use std::future::Future;
use std::sync::Arc;

use super::{Context, Handler, Outcome};
use crate::event::Event;

struct FunctionHandler<F>(F);

#[async_trait::async_trait]
impl<F, Fut> Handler for FunctionHandler<F>
where
    F: Fn(Event, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        // Both clones are cheap but for the headers: the body is shared, not copied.
        (self.0)(event.clone(), context.clone()).await
    }
}

/// Makes a handler of an async function.
///
/// The function's future is dropped at the deadline and when the lease is lost. It must not leave
/// work behind that outlives it; a panic in it is caught by the worker and counts as a failed try.
///
/// ```
/// use hookonce::handler::{Outcome, function};
///
/// let handler = function::from_fn(|event, context| async move {
///     // Dedupe by `context.delivery`: the same delivery may be called more than once.
///     if event.body.is_empty() { Outcome::reject("an empty body") } else { Outcome::done() }
/// });
/// # drop(handler);
/// ```
pub fn from_fn<F, Fut>(function: F) -> Arc<dyn Handler>
where
    F: Fn(Event, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(FunctionHandler(function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::sample;

    #[tokio::test]
    async fn a_function_gets_the_event_and_its_outcome_is_the_handlers() {
        let handler = from_fn(|event, context| async move {
            Outcome::retry(format!("{} {} {}", event.kind, event.body.len(), context.attempt))
        });
        let outcome = handler.handle(&sample::event(b"four"), &sample::context()).await;
        assert_eq!(outcome, Outcome::retry("invoice.paid 4 1"));
    }
}
