//! Replays of many deliveries: exact whatever interrupts them, bounded, and as their dry run said.

use std::sync::Arc;
use std::time::Duration;

use entity::{State, replay_run};
use hookonce::store::replay_run::{
    NewRun, Replay, ReplayPlan, StepBy, Stepped, Tallies, Tally, Target,
};
use hookonce::store::{LanePlace, NewEvent, Store, StoreError};

use super::ground::{claim, dead, event, event_of, fresh, name};
use crate::both_databases;
use crate::support::{Kind, TestDatabase};

/// A handler that gets everything of these sources.
pub(super) fn target(handler: &str, from: &'static [&'static str]) -> Target {
    Target {
        handler: name(handler),
        takes: Arc::new(move |source, _| from.contains(&source)),
        lane: None,
    }
}

fn plan(replay: Replay) -> ReplayPlan {
    ReplayPlan { replay, targets: Arc::from([target("a", &["shop"]), target("b", &["shop"])]) }
}

fn again() -> Replay {
    Replay { again: true, ..Replay::default() }
}

fn to(handler: &str) -> Replay {
    Replay { to_handler: Some(name(handler)), ..Replay::default() }
}

pub(super) fn asking(replay: &Replay) -> NewRun {
    let request = format!("{replay:?}");
    NewRun { replay: replay.clone(), request, by_daemon: true, per_second: None, restart: false }
}

async fn begin(store: &Store, replay: &Replay) -> replay_run::Model {
    let begun = store.begin_replay(asking(replay)).await.unwrap();
    assert!(!begun.continued);
    begun.run
}

async fn step(store: &Store, run: &replay_run::Model, plan: &ReplayPlan, most: u32) -> Stepped {
    let by = StepBy { most, worker: "w".to_owned(), lease: Duration::from_secs(30) };
    store.replay_step(run.id, plan, by).await.unwrap().expect("the run is there")
}

/// Steps until the run doesn't run any more; no step opens more than `most`, but for one event's.
pub(super) async fn drive(
    store: &Store,
    run: &replay_run::Model,
    plan: &ReplayPlan,
    most: u32,
) -> Tallies {
    loop {
        let stepped = step(store, run, plan, most).await;
        assert!(stepped.opened <= u64::from(most) + 1, "{stepped:?}");
        if stepped.run.state != "running" {
            assert_eq!(stepped.run.state, "done");
            return serde_json::from_str(&stepped.run.counts).unwrap();
        }
    }
}

/// Counts, runs, and checks that both say the same.
async fn replayed(store: &Store, replay: Replay, most: u32) -> Tallies {
    let plan = plan(replay);
    let counted = store.count_replay(&plan, None).await.unwrap();
    let run = begin(store, &plan.replay).await;
    let done = drive(store, &run, &plan, most).await;
    assert_eq!(counted, done, "the dry run said what would happen");
    done
}

/// So many events for these handlers, whose deliveries stand so.
async fn many(db: &TestDatabase, store: &Store, count: usize, handlers: &[&str], state: &str) {
    let batch: Vec<NewEvent> =
        (0..count).map(|n| event(&format!("{state}_{n:05}"), b"{}", handlers)).collect();
    assert!(store.record_batch(batch).await.iter().all(Result::is_ok));
    db.run(&format!(
        "UPDATE delivery SET state = '{state}', settled_at = opened_at, attempts = 1, cause = 'no' WHERE state = 'pending'"
    ))
    .await;
}

async fn in_state(db: &TestDatabase, state: &str) -> i64 {
    db.number(&format!("SELECT count(*) FROM delivery WHERE state = '{state}'")).await
}

both_databases!(
    the_dead_are_reopened_under_their_ids_and_nothing_else_is_touched,
    |db| async move {
        let store = db.store().await;
        many(&db, &store, 700, &["a", "b"], "dead").await;
        many(&db, &store, 10, &["a"], "delivered").await;
        fresh(&store, event("open", b"{}", &["a"])).await;
        let ids = "SELECT CAST(count(*) AS bigint) FROM delivery";
        let before = db.number(ids).await;
        let done = replayed(&store, Replay::default(), 500).await;
        assert_eq!(done["a"], Tally { reopened: 700, ..Tally::default() });
        assert_eq!(done["b"], Tally { reopened: 700, ..Tally::default() });
        assert_eq!((in_state(&db, "pending").await, in_state(&db, "dead").await), (1401, 0));
        assert_eq!((in_state(&db, "delivered").await, db.number(ids).await), (10, before));
        let wrong =
            "SELECT count(*) FROM delivery WHERE state = 'pending' AND attempts <> attempts_before";
        assert_eq!(db.number(wrong).await, 0, "each has its whole budget again");
        let again = replayed(&store, Replay::default(), 500).await;
        assert_eq!(again, Tallies::new(), "doing it again does nothing");
    }
);

both_databases!(every_condition_of_the_filter_holds, |db| async move {
    let store = db.store().await;
    for (at, source) in ["shop", "crm", "shop", "crm"].into_iter().enumerate() {
        fresh(&store, event_of(source, &format!("e{at}"), b"{}", &["a", "gone"])).await;
    }
    db.run("UPDATE delivery SET state = 'dead', settled_at = opened_at, attempts = 1").await;
    let filter = Replay { source: Some("shop".to_owned()), ..Replay::default() };
    let other = Replay { kind: Some("refund.*".to_owned()), ..filter.clone() };
    assert_eq!(replayed(&store, other, 500).await, Tallies::new());
    let later =
        Replay { since: Some(chrono::Utc::now() + chrono::TimeDelta::days(3)), ..filter.clone() };
    assert_eq!(replayed(&store, later, 500).await, Tallies::new());
    let one = Replay { handler: Some("a".to_owned()), kind: Some("order.*".to_owned()), ..filter };
    let done = replayed(&store, one, 1).await;
    assert_eq!(done["a"], Tally { reopened: 2, ..Tally::default() });
    assert_eq!(done.len(), 1);
    // The config has no handler of that name: its deliveries would wait for ever.
    let done = replayed(&store, Replay::default(), 500).await;
    assert_eq!((done["a"].reopened, done["gone"].reopened), (2, 0));
    assert_eq!(done["gone"].skipped.no_handler, 4);
});

both_databases!(an_interrupted_new_round_goes_on_and_makes_no_delivery_twice, |db| async move {
    let store = db.store().await;
    many(&db, &store, 300, &["a", "b"], "delivered").await;
    let plan = plan(again());
    let run = begin(&store, &plan.replay).await;
    assert_eq!(run.total, Some(300));
    let stepped = step(&store, &run, &plan, 51).await;
    assert_eq!((stepped.opened, stepped.run.looked_at), (52, 26), "cut between two events");
    let stopped = store.stop_replay(run.id, None).await.unwrap().unwrap();
    assert_eq!(stopped.state, "cancelled");
    assert_eq!(step(&store, &run, &plan, 51).await.opened, 0, "a stopped one opens nothing");
    // What was opened is delivered meanwhile: only the cursor knows that it had its turn.
    db.run(
        "UPDATE delivery SET state = 'delivered', settled_at = opened_at WHERE state = 'pending'",
    )
    .await;

    let left = store.count_replay(&plan, Some(&stopped)).await.unwrap();
    assert_eq!(left["a"].new_round + left["b"].new_round, 548);
    let begun = store.begin_replay(asking(&plan.replay)).await.unwrap();
    assert_eq!((begun.run.id, begun.continued), (run.id, true));
    let done = drive(&store, &run, &plan, 100).await;
    assert_eq!(done["a"], Tally { new_round: 300, ..Tally::default() });
    let rounds = "SELECT count(*) FROM delivery WHERE round = 1";
    assert_eq!((db.number(rounds).await, in_state(&db, "delivered").await), (600, 652));
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE round > 1").await, 0);

    // It is done: asking again is another round; but what is open has its turn already.
    let run = begin(&store, &plan.replay).await;
    let done = drive(&store, &run, &plan, 500).await;
    assert_eq!(done["a"].skipped.open + done["b"].skipped.open, 548);
    assert_eq!(done["a"].new_round + done["b"].new_round, 52);
});

both_databases!(two_that_drive_one_run_make_each_delivery_once, |db| async move {
    let store = db.store().await;
    many(&db, &store, 1_000, &["a"], "delivered").await;
    let plan = plan(again());
    let run = begin(&store, &plan.replay).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, plan, run) = (store.clone(), plan.clone(), run.clone());
        tasks.spawn(async move { drive(&store, &run, &plan, 40).await });
    }
    for done in tasks.join_all().await {
        assert_eq!(done["a"], Tally { new_round: 1_000, ..Tally::default() });
    }
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE round = 1").await, 1_000);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 2_000);
});

both_databases!(a_new_handler_gets_old_events_that_it_takes, |db| async move {
    let store = db.store().await;
    many(&db, &store, 20, &["a"], "delivered").await;
    fresh(&store, event_of("crm", "other", b"{}", &["a"])).await;
    fresh(&store, event("held", b"{}", &[])).await;
    fresh(&store, event("gone", b"{}", &[])).await;
    let of = "(SELECT id FROM event WHERE event_id = 'gone')";
    db.run(&format!("DELETE FROM event_body WHERE event_id = {of}")).await;
    db.run("UPDATE event SET held = 'duplicate_key' WHERE event_id = 'held'").await;
    let done = replayed(&store, to("b"), 7).await;
    assert_eq!(done["b"].backfilled, 20);
    assert_eq!((done["b"].skipped.held, done["b"].skipped.no_body), (1, 1));
    assert_eq!(done.len(), 1);
    assert_eq!(claim(&store, "b", 99).await.len(), 20);
    let done = replayed(&store, to("b"), 500).await;
    assert_eq!((done["b"].backfilled, done["b"].skipped.open), (0, 20));
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE handler = 'b'").await, 20);
});

both_databases!(old_events_stand_in_the_lanes_of_a_new_handler, |db| async move {
    let store = db.store().await;
    let batch: Vec<NewEvent> = (0..60)
        .map(|n| event(&format!("e{n:03}"), format!("lane {}", n % 3).as_bytes(), &["a"]))
        .collect();
    assert!(store.record_batch(batch).await.iter().all(Result::is_ok));
    let lanes = Target {
        lane: Some(Arc::new(|headers, body| {
            assert!(headers.one("x-id").unwrap().is_some(), "headers come too");
            LanePlace { lane: String::from_utf8(body.to_vec()).unwrap(), skip_dead: false }
        })),
        ..target("b", &["shop"])
    };
    let plan = ReplayPlan { replay: to("b"), targets: Arc::from([lanes]) };
    let run = begin(&store, &plan.replay).await;
    assert_eq!(drive(&store, &run, &plan, 25).await["b"].backfilled, 60);
    for turn in 0..20 {
        let claims = claim(&store, "b", 99).await;
        let mut ids: Vec<String> =
            claims.iter().map(|it| it.event.as_ref().unwrap().event_id.clone()).collect();
        ids.sort();
        let want: Vec<String> = (0..3).map(|lane| format!("e{:03}", turn * 3 + lane)).collect();
        assert_eq!(ids, want, "one of each lane, in the order of recording");
        for it in claims {
            store.cancel(it.delivery).await.unwrap();
        }
    }
});

both_databases!(
    dead_ones_that_their_lane_passed_over_get_in_line_in_their_order,
    |db| async move {
        let store = db.store().await;
        let batch: Vec<NewEvent> = (0..6)
            .map(|n| {
                let mut event = event(&format!("e{n}"), b"{}", &["a"]);
                event.deliveries[0].lane =
                    Some(LanePlace { lane: "x".to_owned(), skip_dead: true });
                event
            })
            .collect();
        assert!(store.record_batch(batch).await.iter().all(Result::is_ok));
        for _ in 0..6 {
            db.run(
            "UPDATE delivery SET state = 'dead', settled_at = opened_at, attempts = 1 WHERE lane_head",
        )
        .await;
        }
        assert_eq!(in_state(&db, "dead").await, 6);
        assert_eq!(replayed(&store, Replay::default(), 500).await["a"].reopened, 6);
        for n in 0..6 {
            let claims = claim(&store, "a", 99).await;
            let ids: Vec<&str> =
                claims.iter().map(|it| it.event.as_ref().unwrap().event_id.as_str()).collect();
            assert_eq!(ids, [format!("e{n}")]);
            store.cancel(claims[0].delivery).await.unwrap();
        }
    }
);

both_databases!(what_was_recorded_or_cancelled_is_left_alone, |db| async move {
    let store = db.store().await;
    many(&db, &store, 3, &["a"], "delivered").await;
    many(&db, &store, 2, &["a"], "cancelled").await;
    let run = begin(&store, &again()).await;
    // Recorded after the beginning, and delivered before the run comes by.
    many(&db, &store, 5, &["b"], "delivered").await;
    let done = drive(&store, &run, &plan(again()), 500).await;
    assert_eq!(done["a"].new_round, 3);
    assert_eq!(done["a"].skipped.cancelled, 2, "somebody took them away");
    assert!(!done.contains_key("b"), "{done:?}");
    let taken = Replay { state: Some(State::Cancelled), ..again() };
    assert_eq!(replayed(&store, taken, 500).await["a"].new_round, 2);
});

both_databases!(who_asks_twice_is_given_the_run_that_is_under_way, |db| async move {
    let store = db.store().await;
    dead(&store, "evt_1", "a").await;
    let run = begin(&store, &Replay::default()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        let new = NewRun { restart: true, ..asking(&Replay::default()) };
        tasks.spawn(async move { store.begin_replay(new).await.unwrap() });
    }
    for begun in tasks.join_all().await {
        assert_eq!((begun.run.id, begun.continued), (run.id, true));
    }
    // Without `again` a stopped one is begun anew: that finds what has died since.
    store.stop_replay(run.id, Some("why\0".to_owned())).await.unwrap();
    let second = begin(&store, &Replay::default()).await;
    assert_ne!(second.id, run.id);
    let stopped = store.replay_run(run.id).await.unwrap().unwrap();
    assert_eq!(stopped.error.as_deref(), Some("why\\0"));
    // The first one can't run beside its equal.
    let resumed = store.resume_replay(run.id, true, None).await.unwrap().unwrap();
    assert_eq!(resumed.state, "cancelled");
    for n in 0..15 {
        let kind = Some(format!("t{n}"));
        begin(&store, &Replay { kind, ..Replay::default() }).await;
    }
    let error = store.begin_replay(asking(&again())).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    assert_eq!(store.replay_runs(99).await.unwrap().len(), 17);
});

both_databases!(a_run_has_one_driver_until_its_lease_lapses, |db| async move {
    let store = db.store().await;
    let lease = Duration::from_secs(30);
    assert_eq!(store.claim_replay("one", lease).await.unwrap(), None);
    let command = NewRun { by_daemon: false, ..asking(&again()) };
    let command = store.begin_replay(command).await.unwrap().run;
    assert_eq!(store.claim_replay("one", lease).await.unwrap(), None, "a command drives it itself");
    let run = begin(&store, &Replay::default()).await;
    let claimed = |run: Option<replay_run::Model>| run.map(|run| run.id);
    assert_eq!(claimed(store.claim_replay("one", lease).await.unwrap()), Some(run.id));
    assert_eq!(store.claim_replay("two", lease).await.unwrap(), None);
    assert_eq!(claimed(store.claim_replay("one", lease).await.unwrap()), Some(run.id));
    let past = match db.kind() {
        Kind::Postgres => "now() - interval '1 second'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')",
    };
    db.run(&format!("UPDATE replay_run SET lease_until = {past} WHERE worker = 'one'")).await;
    assert_eq!(claimed(store.claim_replay("two", lease).await.unwrap()), Some(run.id));
    assert!(store.hold_replay(run.id, "two", lease).await.unwrap());
    assert!(!store.hold_replay(run.id, "one", lease).await.unwrap());
    // Its command may be gone: once it is asked of the daemons it is theirs.
    let resumed = store.resume_replay(command.id, true, Some(5.0)).await.unwrap().unwrap();
    assert_eq!((resumed.driver.as_str(), resumed.per_second), ("daemon", Some(5.0)));
    assert_eq!(claimed(store.claim_replay("three", lease).await.unwrap()), Some(command.id));
    store.stop_replay(command.id, None).await.unwrap();
    assert!(!store.hold_replay(command.id, "three", lease).await.unwrap(), "it was stopped");
});

both_databases!(a_cleanup_beside_it_takes_no_body_of_a_new_delivery, |db| async move {
    let store = db.store().await;
    many(&db, &store, 400, &["a"], "delivered").await;
    let past = match db.kind() {
        Kind::Postgres => "now() - interval '1 second'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')",
    };
    db.run(&format!("UPDATE event_body SET expires_at = {past}")).await;
    let plan = plan(again());
    let run = begin(&store, &plan.replay).await;
    let sweeping = {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                store.sweep_bodies(10, hookonce::store::cleanup::Cursor::START).await.unwrap();
            }
        })
    };
    let done = drive(&store, &run, &plan, 20).await;
    sweeping.await.unwrap();
    assert_eq!(done["a"].new_round + done["a"].skipped.no_body, 400, "{done:?}");
    let without = "SELECT count(*) FROM delivery d WHERE state = 'pending'
        AND NOT EXISTS (SELECT 1 FROM event_body b WHERE b.event_id = d.event_id)";
    assert_eq!(db.number(without).await, 0);
});

both_databases!(the_run_of_a_command_that_was_killed_is_stopped_by_the_next_one, |db| async move {
    let store = db.store().await;
    many(&db, &store, 10, &["a"], "delivered").await;
    let command = NewRun { by_daemon: false, ..asking(&again()) };
    let run = store.begin_replay(command).await.unwrap().run;
    assert_eq!(step(&store, &run, &plan(again()), 4).await.opened, 4);
    let state = async |id| store.replay_run(id).await.unwrap().unwrap().state;
    begin(&store, &Replay::default()).await;
    assert_eq!(state(run.id).await, "running", "it may only be slow");
    let past = match db.kind() {
        Kind::Postgres => "now() - interval '2 hours'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-2 hours')",
    };
    db.run(&format!("UPDATE replay_run SET lease_until = {past} WHERE driver = 'command'")).await;
    begin(&store, &Replay { kind: Some("x".to_owned()), ..Replay::default() }).await;
    assert_eq!(state(run.id).await, "cancelled");
    // The same words carry it on, as they would had it been interrupted.
    let begun = store.begin_replay(asking(&again())).await.unwrap();
    assert_eq!((begun.run.id, begun.continued, begun.run.error), (run.id, true, None));
    assert_eq!(drive(&store, &run, &plan(again()), 500).await["a"].new_round, 10);
});
