//! How fast a replay goes.

use std::time::{Duration, Instant};

/// Deliveries opened by a batch when nobody says how fast.
const MOST: u32 = 500;

/// The pace of one drive: at most `rate` × time + one batch.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<f64>,
    begun: Instant,
    opened: u64,
}

impl Pace {
    pub(super) fn begin(rate: Option<f64>) -> Self {
        Self { rate, begun: Instant::now(), opened: 0 }
    }

    /// How many the next batch may open: a quarter of a second's worth.
    pub(super) fn most(&self) -> u32 {
        match self.rate {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 1 and 500"
            )]
            Some(rate) => (rate / 4.0).ceil().clamp(1.0, f64::from(MOST)) as u32,
            None => MOST,
        }
    }

    /// Counts a batch. Another rate counts from now on.
    pub(super) fn opened(&mut self, opened: u64, rate: Option<f64>) {
        if rate != self.rate {
            *self = Self::begin(rate);
        }
        self.opened += opened;
    }

    /// How long to wait for the next batch.
    pub(super) fn wait(&self) -> Duration {
        self.span(self.opened).saturating_sub(self.begun.elapsed())
    }

    /// How long so many take at this rate.
    fn span(&self, deliveries: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a count of deliveries is far below 2^52")]
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(deliveries as f64 / rate).unwrap_or(Duration::MAX)
        })
    }
}

/// Reads `50/s`, `600/m`, `600/h` or `50`, as deliveries in a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some((number, "h")) => (number, 3600.0),
        Some(_) => ("", 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate / seconds),
        _ => Err("write it as 50/s or 600/m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_deliveries_in_a_time() {
        for (text, want) in
            [("50/s", Ok(50.0)), ("600/m", Ok(10.0)), ("36/h", Ok(0.01)), ("5", Ok(5.0))]
        {
            assert_eq!(rate(text), want, "{text}");
        }
        for text in ["", "0", "-1/s", "x", "5/d", "inf", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_opened_must_have_taken_its_time() {
        let mut pace = Pace::begin(Some(10.0));
        assert_eq!(pace.most(), 3);
        pace.opened(3, Some(10.0));
        assert!(pace.wait() <= Duration::from_millis(300));
        pace.opened(1_000_000, Some(10.0));
        assert!(pace.wait() > Duration::from_secs(99_000));
        pace.opened(0, Some(0.001));
        assert_eq!(
            (pace.most(), pace.wait()),
            (1, Duration::ZERO),
            "another rate counts from now on"
        );
        let free = Pace::begin(None);
        assert_eq!((free.most(), free.wait()), (MOST, Duration::ZERO));
    }
}
