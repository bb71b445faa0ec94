//! How fast a cleanup deletes: gently first, and as the settings say once that turns out to be too slow.
//!
//! Whoever shares a core with a statement waits for it, and whoever commits behind it waits for its log. What is late
//! for it is a share of all answers: that of the time in which statements run. So there is a long pause behind each, and
//! statements are large, because what one costs without any row is lost.

use std::time::Duration;

use super::CleanupSettings;

/// How long a gentle statement may take, its commit and its way there included.
const STATEMENT: Duration = Duration::from_millis(15);

/// How many times as long the pause behind it is, in each third of a run's gentle time: a run that turns out to be too
/// slow is hurried by steps. At first statements run in a third of a hundredth of the time: of a hundred answers the last
/// is late for other reasons.
const RESTS: [u32; 3] = [300, 100, 30];

/// But no longer than this, however long one statement took: a run's claim and its time go on.
const REST_MAX: Duration = Duration::from_secs(6);

/// Rows of the first gentle statement.
const ROWS_FIRST: u32 = 64;

/// Fewer rows aren't faster: what a statement costs without any is most of it.
const ROWS_MIN: u32 = 32;

/// The pace of one run.
#[derive(Debug)]
pub(super) struct Pace {
    batch: u32,
    pause: Duration,
    /// From then on the run is as fast as it may be.
    gentle_for: Duration,
    rows: u32,
}

impl Pace {
    /// Gentle for the first half of a run's time.
    pub(super) fn gentle(settings: &CleanupSettings) -> Self {
        Self { gentle_for: settings.max_run / 2, ..Self::full(settings) }
    }

    /// As the settings say, for who asks for a cleanup now.
    pub(super) fn full(settings: &CleanupSettings) -> Self {
        let batch = settings.batch.max(1);
        let rows = ROWS_FIRST.min(batch);
        Self { batch, pause: settings.pause, gentle_for: Duration::ZERO, rows }
    }

    /// How many rows the next statement may delete, when the run is `elapsed` old.
    pub(super) fn rows(&self, elapsed: Duration) -> u32 {
        if elapsed < self.gentle_for { self.rows } else { self.batch }
    }

    /// The pause behind a statement of up to `rows` that took so long. Never shorter for each row than the settings'.
    pub(super) fn rest(&mut self, elapsed: Duration, rows: u32, took: Duration) -> Duration {
        if elapsed >= self.gentle_for {
            return self.pause;
        }
        let share = took.as_secs_f64() / STATEMENT.as_secs_f64();
        // At most twice as many or half as many: one statement says little.
        let fitting = f64::from(rows) / share.clamp(0.5, 2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within bounds"
        )]
        let fitting = fitting as u32;
        self.rows = fitting.max(ROWS_MIN).min(self.batch);
        let share = f64::from(rows.min(self.batch)) / f64::from(self.batch);
        took.saturating_mul(self.rests(elapsed)).min(REST_MAX).max(self.pause.mul_f64(share))
    }

    /// How many times as long as a statement the pause behind it is, within the gentle time.
    fn rests(&self, elapsed: Duration) -> u32 {
        let third = self.gentle_for / 3;
        let passed = RESTS.iter().zip(1..).take_while(|(_, n)| elapsed >= third * *n).count();
        RESTS[passed.min(RESTS.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn settings() -> CleanupSettings {
        CleanupSettings {
            schedule: "0 */5 * * * *".to_owned(),
            batch: 1000,
            pause: 50 * MS,
            max_run: Duration::from_secs(300),
            window: None,
        }
    }

    #[test]
    fn a_gentle_run_takes_as_many_rows_as_fit_into_a_short_statement() {
        let mut pace = Pace::gentle(&settings());
        let mut at = Duration::ZERO;
        for _ in 0..40 {
            let rows = pace.rows(at);
            // Fourteen microseconds a row and two milliseconds for the statement.
            let took = 2 * MS + Duration::from_micros(14) * rows;
            let rest = pace.rest(at, rows, took);
            assert_eq!(rest, took * if at < 50_000 * MS { 300 } else { 100 });
            at += took + rest;
        }
        assert!((850..=950).contains(&pace.rows(at)), "{}", pace.rows(at));
    }

    #[test]
    fn a_run_that_is_too_slow_is_hurried_by_steps() {
        let mut pace = Pace::gentle(&settings());
        let mut rest = |seconds| pace.rest(Duration::from_secs(seconds), 100, 10 * MS);
        assert_eq!([0, 49].map(&mut rest), [3000 * MS; 2]);
        assert_eq!([50, 99].map(&mut rest), [1000 * MS; 2]);
        assert_eq!([100, 149].map(&mut rest), [300 * MS; 2]);
        assert_eq!(rest(150), 50 * MS);
    }

    #[test]
    fn a_slow_database_gets_small_statements_and_a_fast_one_the_whole_batch() {
        let mut pace = Pace::gentle(&settings());
        for _ in 0..20 {
            pace.rest(MS, pace.rows(MS), Duration::from_secs(1));
        }
        assert_eq!(pace.rows(MS), ROWS_MIN);
        for _ in 0..20 {
            pace.rest(MS, pace.rows(MS), Duration::from_micros(1));
        }
        assert_eq!(pace.rows(MS), 1000);
    }

    #[test]
    fn one_slow_statement_stops_no_run() {
        let mut pace = Pace::gentle(&settings());
        assert_eq!(pace.rest(MS, 32, Duration::from_secs(30)), REST_MAX);
        assert_eq!(pace.rest(MS, 32, Duration::MAX), REST_MAX);
    }

    #[test]
    fn what_half_of_its_time_was_too_short_for_goes_at_full_pace() {
        let mut pace = Pace::gentle(&settings());
        let half = Duration::from_secs(150);
        assert_eq!(pace.rows(half - MS), ROWS_FIRST);
        assert_eq!(pace.rows(half), 1000);
        assert_eq!(pace.rest(half, 1000, 20 * MS), 50 * MS);
    }

    #[test]
    fn a_small_batch_stays_small() {
        let mut pace = Pace::gentle(&CleanupSettings { batch: 3, ..settings() });
        assert_eq!(pace.rows(MS), 3);
        pace.rest(MS, 3, Duration::ZERO);
        assert_eq!(pace.rows(MS), 3);
        assert_eq!(Pace::full(&settings()).rows(Duration::ZERO), 1000);
    }
}
