//! Turns at the transactions in which effects work in our own database.

use std::collections::HashMap;

use entity::Name;
use tokio::sync::{Semaphore, SemaphorePermit};

/// One turn for each transaction that the store can have open. Of several handlers each has at most half of them at
/// once: one that hangs leaves the others theirs, and where there is one only they take it by turns.
#[derive(Debug)]
pub(super) struct Turns {
    all: Semaphore,
    each: HashMap<Name, Semaphore>,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'t> {
    _of_handler: Option<SemaphorePermit<'t>>,
    _of_all: Option<SemaphorePermit<'t>>,
    /// It wasn't there at once.
    pub(super) waited: bool,
}

impl Turns {
    pub(super) fn new(turns: usize, handlers: &[Name]) -> Self {
        let most = if handlers.len() > 1 { (turns / 2).max(1) } else { turns };
        let each = handlers.iter().map(|name| (name.clone(), Semaphore::new(most)));
        Self { all: Semaphore::new(turns), each: each.collect() }
    }

    /// Waits for a turn. Cancel-safe.
    pub(super) async fn take(&self, handler: &Name) -> Turn<'_> {
        // The handler's own first: what waits for that stands in nobody else's way.
        let (of_handler, waited_for_own) = match self.each.get(handler) {
            Some(own) => take(own).await,
            None => (None, false),
        };
        let (of_all, waited) = take(&self.all).await;
        Turn { _of_handler: of_handler, _of_all: of_all, waited: waited || waited_for_own }
    }
}

/// A permit, and whether it had to be waited for. Never closed, so there is always one in the end.
async fn take(semaphore: &Semaphore) -> (Option<SemaphorePermit<'_>>, bool) {
    match semaphore.try_acquire() {
        Ok(permit) => (Some(permit), false),
        Err(_) => (semaphore.acquire().await.ok(), true),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::poll;

    use super::*;

    fn names() -> [Name; 2] {
        ["a", "b"].map(|name| Name::new(name).expect("a name"))
    }

    #[test]
    fn a_handler_leaves_half_of_the_turns_to_others() {
        let [a, b] = names();
        let turns = Turns::new(10, &[a.clone(), b.clone()]);
        let held: Vec<_> = (0..12).filter_map(|_| turns.take(&a).now_or_never()).collect();
        assert_eq!(held.len(), 5);
        let others: Vec<_> = (0..12).filter_map(|_| turns.take(&b).now_or_never()).collect();
        assert_eq!(others.len(), 5);
        assert!(held.iter().chain(&others).all(|turn| !turn.waited));
        // Alone it may have them all.
        let turns = Turns::new(10, std::slice::from_ref(&a));
        let held: Vec<_> = (0..12).filter_map(|_| turns.take(&a).now_or_never()).collect();
        assert_eq!(held.len(), 10);
    }

    #[tokio::test]
    async fn the_only_turn_goes_from_handler_to_handler() {
        let [a, b] = names();
        let turns = Turns::new(1, &[a.clone(), b.clone()]);
        let first = turns.take(&a).now_or_never().expect("it is free");
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.take(&a))).collect();
        for next in &mut waiting {
            assert!(poll!(next).is_pending());
        }
        let mut other = Box::pin(turns.take(&b));
        assert!(poll!(&mut other).is_pending());
        drop(first);
        for next in &mut waiting {
            assert!(poll!(next).is_pending(), "it comes behind the other handler's");
        }
        let turn = other.await;
        assert!(turn.waited);
        drop(turn);
        assert!(waiting.remove(0).now_or_never().expect("its turn").waited);
    }
}
