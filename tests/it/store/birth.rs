//! Born leased: recorded as this worker's own first try, and in everything else like a claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use entity::{State, TryOutcome};
use hookonce::event::Event;
use hookonce::handler::{Context, Handler, Outcome};
use hookonce::metric::Metrics;
use hookonce::retry::{Backoff, Limit, OnUnknown, RetryPolicy};
use hookonce::store::{
    BIRTH_EPOCH, BirthLease, Claimed, NewEvent, Recorded, Settled, Store, Verdict,
};
use hookonce::upkeep::rescue::rescue_once;
use hookonce::worker::effect::Effect;
use hookonce::worker::{Birth, Callee, WorkerParts, WorkerStop};
use tokio::sync::{Notify, mpsc};

use super::ground::{LEASE, claim, event, fresh, name, record, settlement};
use crate::both_databases;
use crate::support::eventually;

/// An event whose deliveries are leased to `worker` from birth.
fn born(id: &str, worker: &str, handlers: &[&str]) -> NewEvent {
    let mut event = event(id, b"{}", handlers);
    for delivery in &mut event.deliveries {
        delivery.lease = Some(BirthLease { worker: Arc::from(worker), length: LEASE });
    }
    event
}

/// What the worker is handed for the one delivery of `event`.
fn claimed(event: &NewEvent) -> Claimed {
    let delivery = &event.deliveries[0];
    Claimed {
        delivery: delivery.id,
        handler: delivery.handler.clone(),
        epoch: BIRTH_EPOCH,
        attempt: 1,
        tried: 1,
        open_for: Duration::ZERO,
        lane: None,
        event: Some(Event {
            id: event.id,
            source: event.verified.source().clone(),
            event_id: event.verified.identity().event_id.clone(),
            kind: event.verified.identity().kind.clone(),
            received_at: event.verified.received().arrived_at,
            headers: event.verified.received().headers.clone(),
            body: event.verified.body().clone(),
        }),
    }
}

both_databases!(one_is_leased_from_the_start_and_settles_like_a_claim, |db| async move {
    let store = db.store().await;
    let mut new = born("evt_1", "w", &["a", "b"]);
    // The second handler has no room: its delivery is for whoever claims it.
    new.deliveries[1].lease = None;
    let first = claimed(&new);
    fresh(&store, new).await;
    let (row, _) = store.delivery(first.delivery).await.unwrap().unwrap();
    let row = row.delivery;
    assert_eq!((row.state, row.attempts, row.lease_epoch), (State::Leased, 1, BIRTH_EPOCH));
    assert_eq!(row.leased_by.as_deref(), Some("w"));
    assert_eq!(row.leased_at, Some(row.opened_at));
    let left = (row.lease_until.unwrap() - row.opened_at).to_std().unwrap();
    assert!(left.abs_diff(LEASE) < Duration::from_millis(2), "{left:?}");
    assert!(claim(&store, "a", 9).await.is_empty(), "it is taken");
    assert_eq!(claim(&store, "b", 9).await.len(), 1, "this one isn't");

    let done = settlement(&first, Verdict::Delivered, TryOutcome::Delivered);
    assert_eq!(store.settle_batch(vec![done]).await.pop().unwrap().unwrap(), Settled::Done);
    let (row, tries) = store.delivery(first.delivery).await.unwrap().unwrap();
    assert_eq!((row.delivery.state, tries.len(), tries[0].n), (State::Delivered, 1, 1));
});

both_databases!(a_copy_makes_no_delivery_and_says_that_it_is_none_of_its_own, |db| async move {
    let store = db.store().await;
    let first = fresh(&store, born("evt_1", "w", &["a"])).await;
    let (one, two) = (born("evt_1", "w", &["a"]), born("evt_2", "w", &["a"]));
    let twin = born("evt_2", "w", &["a"]);
    let id = two.id;
    let answers = store.record_batch(vec![one, two, twin]).await;
    let answers: Vec<Recorded> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers[0], Recorded::Duplicate { event: first, conflict: false });
    assert!(matches!(answers[1], Recorded::Fresh { event, .. } if event == id), "{answers:?}");
    assert_eq!(answers[2], Recorded::Duplicate { event: id, conflict: false });
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 2);
});

both_databases!(the_time_of_recording_is_that_of_the_row, |db| async move {
    let store = db.store().await;
    let Recorded::Fresh { event, received_at, .. } =
        record(&store, born("evt_1", "w", &["a"])).await
    else {
        panic!("not fresh")
    };
    let detail = store.event(&event.to_string()).await.unwrap().pop().unwrap();
    assert_eq!(detail.event.received_at, received_at);
});

both_databases!(one_whose_worker_died_before_it_began_is_rescued, |db| async move {
    let store = db.store().await;
    let new = born("evt_1", "dead", &["a"]);
    let lost = claimed(&new);
    fresh(&store, new).await;
    crate::store::rescue::let_leases_lapse(&db).await;
    let policy = RetryPolicy {
        limit: Limit::Attempts(3),
        backoff: Backoff::List(vec![Duration::ZERO]),
        on_unknown: OnUnknown::Retry,
    };
    assert_eq!(rescue_once(&store, &[(name("a"), policy)], 0.5).await.unwrap(), 1);
    let again = claim(&store, "a", 1).await.pop().unwrap();
    assert_eq!((again.delivery, again.attempt, again.epoch), (lost.delivery, 2, 2));
    let late = settlement(&lost, Verdict::Delivered, TryOutcome::Delivered);
    assert_eq!(store.settle_batch(vec![late]).await.pop().unwrap().unwrap(), Settled::LeaseLost);
});

/// Counts its calls.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait::async_trait]
impl Handler for Counting {
    async fn handle(&self, _event: &Event, context: &Context) -> Outcome {
        assert!(context.attempt >= 1);
        self.0.fetch_add(1, Ordering::SeqCst);
        Outcome::done()
    }
}

/// A worker with one handler `a`, and the way in for newborns.
struct Working {
    births: mpsc::UnboundedSender<Birth>,
    seats: Arc<hookonce::handler::seats::Seats>,
    stop: WorkerStop,
    task: tokio::task::JoinHandle<()>,
    calls: Arc<Counting>,
}

impl Working {
    async fn on(store: &Store) -> Self {
        let calls = Arc::new(Counting::default());
        let callees = vec![Callee {
            name: name("a"),
            effect: Effect::Call(calls.clone()),
            shape: None,
            timeout: Duration::from_secs(5),
            concurrency: 4,
            retry: RetryPolicy::default(),
            lease: LEASE,
            versions: None,
            control: hookonce::handler::control::Control::default(),
            responds: false,
        }];
        let (births, newborn) = mpsc::unbounded_channel();
        let (seats, stop) = (hookonce::worker::seats(&callees), WorkerStop::default());
        let parts = WorkerParts {
            store: store.clone(),
            seats: Arc::clone(&seats),
            births: newborn,
            callees,
            wake: Arc::new(Notify::new()),
            answers: hookonce::handler::answers::Answers::default(),
            metrics: Metrics::new(),
            id: "w".to_owned(),
        };
        let task = tokio::spawn(hookonce::worker::run(parts, stop.clone()));
        let working = Self { births, seats, stop, task, calls };
        // Before its first claim a worker doesn't know what waits.
        eventually(Duration::from_secs(20), "the first claim", || async {
            (!working.seats.is_behind(&name("a"))).then_some(())
        })
        .await;
        working
    }

    /// Records an event and hands its delivery over, as intake does.
    async fn bear(&self, store: &Store, id: &str, since: Instant) {
        let (seat, _) = self.seats.for_newborn(&name("a")).expect("a seat");
        let new = born(id, "w", &["a"]);
        let claimed = claimed(&new);
        fresh(store, new).await;
        self.births.send(Birth { claimed, seat, since }).unwrap();
    }

    async fn stop(self) -> usize {
        self.stop.claiming.cancel();
        self.task.await.unwrap();
        self.calls.0.load(Ordering::SeqCst)
    }
}

both_databases!(
    newborns_are_called_once_also_when_the_worker_stops_at_that_moment,
    |db| async move {
        let store = db.store().await;
        let working = Working::on(&store).await;
        for n in 0..3 {
            working.bear(&store, &format!("evt_{n}"), Instant::now()).await;
        }
        assert_eq!(working.stop().await, 3);
        let settled = "SELECT count(*) FROM delivery WHERE state = 'delivered' AND lease_epoch = 1";
        assert_eq!(db.number(settled).await, 3);
    }
);

both_databases!(one_that_was_recorded_too_slowly_is_given_back_and_called_once, |db| async move {
    let store = db.store().await;
    let working = Working::on(&store).await;
    let long_ago = Instant::now().checked_sub(LEASE).expect("the machine runs for longer");
    working.bear(&store, "evt_1", long_ago).await;
    let again = "SELECT count(*) FROM delivery WHERE state = 'delivered' AND lease_epoch = 2 AND attempts = 1";
    eventually(Duration::from_secs(20), "the second lease's call", || async {
        (db.number(again).await == 1).then_some(())
    })
    .await;
    assert_eq!(working.stop().await, 1);
});
