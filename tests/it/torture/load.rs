//! Senders that go on until something breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::journal::Journal;
use crate::daemon::{STRIPE, stripe};
use crate::support::{Sender, eventually, within};

const SENDERS: usize = 16;

/// A running load. Each sender sends events of its own, one after the other, and stops at the first
/// request that was not answered. One that was put off is a stall of the machine until the load is to end.
#[derive(Debug)]
pub struct Load {
    senders: JoinSet<Vec<String>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: AtomicUsize,
    acks: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    pub fn start(round: u32, to: SocketAddr, journal: Arc<Journal>) -> Self {
        let state = Arc::<State>::default();
        let mut senders = JoinSet::new();
        for name in 0..SENDERS {
            senders.spawn(send(
                format!("evt_{round}_{name}"),
                to,
                Arc::clone(&journal),
                Arc::clone(&state),
            ));
        }
        Self { senders, state }
    }

    /// Returns the number of requests in flight at a moment when there are some and the first ack came.
    pub async fn wait_until_busy(&self, patience: Duration) -> usize {
        eventually(patience, "requests in flight", || async {
            let in_flight = self.state.in_flight.load(Ordering::SeqCst);
            (in_flight > 0 && self.state.acks.load(Ordering::SeqCst) > 0).then_some(in_flight)
        })
        .await
    }

    /// Waits until every sender met the kill, and returns all ids that were sent, acked or not.
    pub async fn end(mut self, patience: Duration) -> Vec<String> {
        // A sender whose last request went through just before sends no other one.
        self.state.stop.store(true, Ordering::SeqCst);
        within(patience, "the senders' end", async {
            let mut tried = Vec::new();
            while let Some(ids) = self.senders.join_next().await {
                tried.extend(ids.unwrap());
            }
            tried
        })
        .await
    }
}

async fn send(
    name: String,
    to: SocketAddr,
    journal: Arc<Journal>,
    state: Arc<State>,
) -> Vec<String> {
    let sender = Sender::new(to);
    let mut tried = Vec::new();
    for n in 0.. {
        if state.stop.load(Ordering::SeqCst) {
            break;
        }
        let id = format!("{name}_{n}");
        let signed = stripe().event(&id, "invoice.paid");
        tried.push(id.clone());
        state.in_flight.fetch_add(1, Ordering::SeqCst);
        let answer = sender.try_send(STRIPE, &signed).await;
        state.in_flight.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Ok(sent) if sent.status == 200 => {
                tokio::task::block_in_place(|| journal.write(&id));
                state.acks.fetch_add(1, Ordering::SeqCst);
            }
            Ok(sent) => {
                assert_eq!(sent.status, 503, "{sent:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => break,
        }
    }
    tried
}
