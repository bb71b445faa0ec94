//! When a lease is renewed: counted from the last renewal, and soon again when one comes to nothing.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use entity::Name;
use tokio::time::Instant;

/// The times of a lease's renewals. A renewal is due after a third of the lease, may take a sixth, and is tried
/// again after a twelfth: three tries before the lease lapses, however each of the first two fails.
#[derive(Debug)]
pub(super) struct Renewal {
    length: Duration,
    /// Not after the database's own time of it, so the lease holds for its length from here at least.
    last: Mutex<Instant>,
}

impl Renewal {
    /// Of a lease that was asked for at `asked`, however late it was got.
    pub(super) fn of(length: Duration, asked: Instant) -> Self {
        Self { length, last: Mutex::new(asked) }
    }

    /// Renews until `renew` says that the lease is lost; what else it says is tried again, and logged for the gateway.
    pub(super) async fn keep<E: Display, F>(&self, gateway: &Name, renew: impl Fn(Duration) -> F)
    where
        F: Future<Output = Result<bool, E>>,
    {
        let mut due = self.last() + self.length / 3;
        loop {
            tokio::time::sleep_until(due).await;
            let asked = Instant::now();
            match tokio::time::timeout(self.length / 6, renew(self.length)).await {
                Ok(Ok(true)) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = asked;
                    due = asked + self.length / 3;
                    continue;
                }
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(gateway = %gateway, error = %error, "the lease of an idempotency key can't be renewed now");
                }
                Err(_) => {
                    tracing::warn!(gateway = %gateway, "the renewal of an idempotency key's lease gets no answer");
                }
            }
            due = Instant::now() + self.length / 12;
        }
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn gateway() -> Name {
        Name::new("pay").expect("a name")
    }

    /// The times of the tries, each with what it comes to; `None` is no answer ever.
    async fn tries(renewal: &Renewal, comes_to: &[Option<Result<bool, &'static str>>]) -> Vec<u64> {
        let (begun, at) = (Instant::now(), RefCell::new(Vec::new()));
        let next = Cell::new(0);
        renewal
            .keep(&gateway(), |_| {
                at.borrow_mut().push(begun.elapsed().as_secs());
                let answer = comes_to[next.replace(next.get() + 1)];
                async move {
                    match answer {
                        Some(answer) => answer,
                        None => std::future::pending().await,
                    }
                }
            })
            .await;
        at.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_leaves_time_for_two_more() {
        let renewal = Renewal::of(LEASE, Instant::now());
        let at = tries(&renewal, &[None, None, Some(Ok(true)), Some(Ok(false))]).await;
        assert_eq!(at, [20, 35, 50, 70]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_tried_again_soon() {
        let renewal = Renewal::of(LEASE, Instant::now());
        let at = tries(&renewal, &[Some(Err("away")), Some(Err("away")), Some(Ok(false))]).await;
        assert_eq!(at, [20, 25, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_came_late_is_renewed_early_and_who_goes_on_goes_on_in_time() {
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(50)).await;
        let renewal = Renewal::of(LEASE, asked);
        let kept = async { renewal.keep(&gateway(), async |_| Ok::<_, &str>(true)).await };
        tokio::time::timeout(Duration::from_secs(15), kept).await.expect_err("it is kept");
        // Renewed after 50 s, and looked after anew after 65 s.
        assert_eq!(tries(&renewal, &[Some(Ok(true)), Some(Ok(false))]).await, [5, 25]);
    }
}
