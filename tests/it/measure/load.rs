//! Requests at a steady rate, and how long their answers took.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::daemon::{STRIPE, stripe};
use crate::support::Sender;

/// A running load.
#[derive(Debug)]
pub struct Load {
    sending: JoinHandle<Latencies>,
    stop: CancellationToken,
}

impl Load {
    /// Sends `rate` events a second, whether answers come or not: a slow server isn't spared.
    pub fn start(name: &'static str, to: SocketAddr, rate: u64) -> Self {
        let stop = CancellationToken::new();
        Self { sending: tokio::spawn(send(name, to, rate, stop.clone())), stop }
    }

    /// Stops sending, waits for the answers under way, and says how long all of them took.
    pub async fn stop(self) -> Latencies {
        self.stop.cancel();
        self.sending.await.unwrap()
    }
}

async fn send(name: &'static str, to: SocketAddr, rate: u64, stop: CancellationToken) -> Latencies {
    let sender = Arc::new(Sender::new(to));
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut answers = JoinSet::new();
    let mut latencies = Vec::new();
    for n in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            due = ticks.tick() => {
                let sender = Arc::clone(&sender);
                answers.spawn(async move { one(&sender, &format!("evt_{name}_{n}"), due).await });
            }
        }
        while let Some(done) = answers.try_join_next() {
            latencies.push(done.unwrap());
        }
    }
    latencies.extend(answers.join_all().await);
    latencies.sort();
    Latencies(latencies)
}

/// Measured from when it was due: a sender that was kept waiting counts too.
async fn one(sender: &Sender, id: &str, due: Instant) -> Duration {
    sender.send(STRIPE, &stripe().event(id, "invoice.paid")).await.assert_accepted();
    due.elapsed()
}

/// From the moment a request was due to its whole answer; sorted.
#[derive(Debug)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// How many were acked: all.
    pub fn acks(&self) -> usize {
        self.0.len()
    }

    fn quantile(&self, part: f64) -> f64 {
        let at = ((self.0.len() - 1) as f64 * part).round() as usize;
        self.0[at].as_secs_f64() * 1e3
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing was sent");
        }
        let [half, most, all] = [0.5, 0.99, 1.0].map(|part| self.quantile(part));
        write!(f, "{half:.1}/{most:.1}/{all:.1} ms of {}", self.0.len())
    }
}
