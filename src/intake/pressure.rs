//! How much may wait for the database when it can't keep up.
//!
//! A burst may fill the queue: it is over when the queue has been worked off. But a queue that stands, because more
//! comes than is committed for as long as that lasts, makes every answer late and saves nobody from a refusal. Then
//! no more may wait than is committed in a moment; the rest is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::store::record::BATCH_EVENTS_MAX;

/// A queue stands when its head waited so long, and is kept to what is committed in this time.
const LATE: Duration = Duration::from_millis(120);

/// It is over when its head waited no longer than this.
const CALM: Duration = Duration::from_millis(30);

/// A queue that stands for a shorter time is a burst.
const BURST: Duration = Duration::from_millis(500);

/// Fewer commits say nothing about how many there will be.
const COMMITS_MIN: u32 = 8;

/// The next batch gathers while one is committed: fewer would make both smaller. Of submissions, as the queue is.
const LIMIT_MIN: usize = 2 * BATCH_EVENTS_MAX;

/// How many submissions may wait now.
#[derive(Debug, Clone)]
pub(super) struct Limit(Arc<AtomicUsize>);

impl Limit {
    /// Whether one more may wait beside so many.
    pub(super) fn admits(&self, waiting: usize) -> bool {
        // A look at one number: nothing else is ordered by it.
        waiting < self.0.load(Ordering::Relaxed)
    }
}

/// Watches the queue from where it is emptied.
#[derive(Debug)]
pub(super) struct Pressure {
    limit: Arc<AtomicUsize>,
    since: Instant,
    commits: u32,
    taken: usize,
}

impl Pressure {
    pub(super) fn new(now: Instant) -> Self {
        let limit = Arc::new(AtomicUsize::new(usize::MAX));
        Self { limit, since: now, commits: 0, taken: 0 }
    }

    pub(super) fn limit(&self) -> Limit {
        Limit(Arc::clone(&self.limit))
    }

    /// A batch of so many submissions was committed, of which the first had waited so long. `left` says whether others
    /// were left behind for want of room in it: without, a long wait is that of a slow commit, and nothing stands.
    pub(super) fn committed(&mut self, now: Instant, batch: usize, waited: Duration, left: bool) {
        let limited = self.limit.load(Ordering::Relaxed) < usize::MAX;
        if waited <= CALM || !left {
            if limited {
                self.limit.store(usize::MAX, Ordering::Relaxed);
                tracing::info!("intake keeps up with what comes again");
            }
            return self.forget();
        }
        if waited < LATE && !limited {
            return self.forget();
        }
        self.commits += 1;
        // The time runs from the end of the first.
        if self.commits == 1 {
            self.since = now;
            return;
        }
        self.taken += batch;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < BURST || self.commits < COMMITS_MIN {
            return;
        }
        let limit = share(self.taken, LATE, elapsed).max(LIMIT_MIN);
        self.limit.store(limit, Ordering::Relaxed);
        if !limited {
            tracing::warn!(
                intake.limit = limit,
                "more comes than the database takes: what would wait longer is refused"
            );
        }
        (self.since, self.commits, self.taken) = (now, 1, 0);
    }

    /// A batch was not committed: what comes before it says nothing about what comes after it.
    pub(super) fn forget(&mut self) {
        (self.commits, self.taken) = (0, 0);
    }
}

/// What of `taken` in `elapsed` falls into `part`.
fn share(taken: usize, part: Duration, elapsed: Duration) -> usize {
    let whole = elapsed.as_micros().max(1);
    let share = (taken as u128).saturating_mul(part.as_micros()) / whole;
    usize::try_from(share).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Commits of `batch` every ten milliseconds, whose first waited so long and which left others behind.
    fn commits(
        pressure: &mut Pressure,
        from: Instant,
        count: u32,
        batch: usize,
        waited: Duration,
    ) -> Instant {
        let mut at = from;
        for _ in 0..count {
            at += 10 * MS;
            pressure.committed(at, batch, waited, true);
        }
        at
    }

    #[test]
    fn a_burst_may_wait() {
        let begun = Instant::now();
        let mut pressure = Pressure::new(begun);
        let limit = pressure.limit();
        // Hours after what came before.
        let mut at = begun + Duration::from_secs(7200);
        for _ in 0..20 {
            at = commits(&mut pressure, at, 45, 256, 400 * MS);
            assert!(limit.admits(4000));
            at = commits(&mut pressure, at, 1, 256, 100 * MS);
        }
    }

    #[test]
    fn a_queue_that_stands_is_kept_to_what_is_committed_in_a_moment() {
        let begun = Instant::now();
        let mut pressure = Pressure::new(begun);
        let limit = pressure.limit();
        let at = commits(&mut pressure, begun, 52, 256, 300 * MS);
        // 25,600 a second, for 120 ms of it.
        assert!(limit.admits(3000) && !limit.admits(3100));
        // As long as it binds, the head waits about so long: that is no reason to let more in.
        let at = commits(&mut pressure, at, 150, 128, 110 * MS);
        assert!(limit.admits(1500) && !limit.admits(1600));
        commits(&mut pressure, at, 1, 10, 5 * MS);
        assert!(limit.admits(4000), "it keeps up");
    }

    #[test]
    fn slow_commits_that_leave_nothing_behind_are_no_queue() {
        let begun = Instant::now();
        let mut pressure = Pressure::new(begun);
        let limit = pressure.limit();
        let mut at = commits(&mut pressure, begun, 60, 256, 300 * MS);
        assert!(!limit.admits(4000));
        for _ in 0..50 {
            at += 150 * MS;
            pressure.committed(at, 15, 150 * MS, false);
            assert!(limit.admits(4000));
        }
    }

    #[test]
    fn a_database_that_was_away_for_a_moment_refuses_nobody_afterwards() {
        let begun = Instant::now();
        let mut pressure = Pressure::new(begun);
        let limit = pressure.limit();
        let at = commits(&mut pressure, begun, 3, 256, 200 * MS);
        pressure.forget();
        // What has gathered meanwhile.
        commits(&mut pressure, at + Duration::from_secs(2), 16, 256, 2000 * MS);
        assert!(limit.admits(4000));
    }

    #[test]
    fn a_slow_database_keeps_its_batches_full() {
        let begun = Instant::now();
        let mut pressure = Pressure::new(begun);
        let limit = pressure.limit();
        let mut at = begun;
        for _ in 0..20 {
            at += Duration::from_secs(1);
            pressure.committed(at, 256, Duration::from_secs(4), true);
        }
        assert!(limit.admits(511) && !limit.admits(512));
    }
}
