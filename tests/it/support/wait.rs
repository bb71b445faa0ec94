//! Waiting for a condition, with a deadline. Never for a length of time.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Between two looks at a condition that nobody signals.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `look` finds something and returns it.
///
/// # Panics
/// When nothing was found for `patience`; the message says what was waited for.
pub async fn eventually<T, F, Fut>(patience: Duration, what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "after {patience:?} still waiting for: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Lets `future` take at most `patience`.
///
/// # Panics
/// When it takes longer; the message says what was waited for.
pub async fn within<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(patience, future).await {
        Ok(value) => value,
        Err(_) => panic!("after {patience:?} still waiting for: {what}"),
    }
}

/// [`eventually`] for code that has no runtime: the starters of servers.
pub fn eventually_blocking<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = std::time::Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "after {patience:?} still waiting for: {what}"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}
