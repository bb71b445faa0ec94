//! Recording: once, durable, byte for byte.

use std::collections::HashSet;

use hookonce::store::Recorded;
use hookonce::store::record::BATCH_EVENTS_MAX;

use super::ground::{event, event_of, fresh, received, record, source, try_record, verified};
use crate::both_databases;

both_databases!(
    a_second_copy_is_a_duplicate_of_the_first_and_makes_no_second_delivery,
    |db| async move {
        let store = db.store().await;
        let first = fresh(&store, event("evt_1", b"{}", &["a", "b"])).await;
        for _ in 0..3 {
            let again = record(&store, event("evt_1", b"{}", &["a", "b"])).await;
            assert_eq!(again, Recorded::Duplicate { event: first, conflict: false });
        }
        assert_eq!(db.number("SELECT count(*) FROM event").await, 1);
        assert_eq!(db.number("SELECT count(*) FROM delivery").await, 2);
        assert_eq!(db.number("SELECT duplicates FROM event").await, 3);
    }
);

both_databases!(copies_within_one_batch_become_one_row, |db| async move {
    let store = db.store().await;
    let batch = (0..10).map(|at| event(&format!("evt_{}", at % 3), b"{}", &["a"])).collect();
    let answers: Vec<Recorded> =
        store.record_batch(batch).await.into_iter().map(Result::unwrap).collect();
    let fresh = answers.iter().filter(|answer| matches!(answer, Recorded::Fresh { .. })).count();
    assert_eq!(fresh, 3);
    let ids: HashSet<_> = answers.iter().map(Recorded::event).collect();
    assert_eq!(ids.len(), 3, "a duplicate names the first copy's row");
    assert_eq!(db.number("SELECT count(*) FROM event").await, 3);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 3);
    assert_eq!(db.number("SELECT cast(sum(duplicates) AS bigint) FROM event").await, 7);
});

both_databases!(the_same_id_of_two_sources_is_two_events, |db| async move {
    let store = db.store().await;
    let shop = fresh(&store, event_of("shop", "1", b"{}", &[])).await;
    let club = fresh(&store, event_of("club", "1", b"{}", &[])).await;
    assert_ne!(shop, club);
});

both_databases!(another_body_under_a_known_id_is_flagged_and_kept_and_never_run, |db| async move {
    let store = db.store().await;
    let first = fresh(&store, event("evt_1", b"{\"a\":1}", &["a"])).await;
    for _ in 0..2 {
        let other = record(&store, event("evt_1", b"{\"a\":2}", &["a"])).await;
        assert_eq!(other, Recorded::Duplicate { event: first, conflict: true });
    }
    let same = record(&store, event("evt_1", b"{\"a\":1}", &["a"])).await;
    assert_eq!(same, Recorded::Duplicate { event: first, conflict: false });
    assert_eq!(db.bytes("SELECT body FROM event_body").await, [b"{\"a\":1}".to_vec()]);
    assert_eq!(db.bytes("SELECT body FROM event_conflict").await, [b"{\"a\":2}".to_vec()]);
    assert_eq!(db.number("SELECT count(*) FROM event WHERE conflict = (1 = 1)").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 1);
});

both_databases!(endless_other_bodies_under_one_id_are_kept_only_up_to_a_bound, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"first", &[])).await;
    for at in 0..20 {
        record(&store, event("evt_1", format!("other {at}").as_bytes(), &[])).await;
    }
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 8);
    assert_eq!(db.number("SELECT duplicates FROM event").await, 20);
});

both_databases!(bytes_come_back_as_they_were_sent, |db| async move {
    let store = db.store().await;
    let mut all = Vec::new();
    for round in 0..8_u16 {
        all.extend((0..=255_u8).map(|byte| byte.wrapping_add(round as u8)));
    }
    let bodies: [&[u8]; 6] = [
        b"",
        b"\0",
        b"{\"a\":\"\\u0000\\ud800\"}",
        b"\xff\xfe not UTF-8 \0\0",
        &all,
        &vec![0; 1 << 20],
    ];
    for (at, body) in bodies.into_iter().enumerate() {
        let id = format!("evt_{at}");
        let request = received(
            &[
                ("X-ID", id.as_bytes()),
                ("x-type", b"t"),
                ("X-Odd", b"\xff\x01 tail"),
                ("x-odd", b""),
            ],
            body,
        );
        let headers = request.headers.clone();
        let new = hookonce::store::NewEvent {
            verified: verified(&source("shop"), request),
            ..event("unused", b"", &[])
        };
        let ours = fresh(&store, new).await;
        assert_eq!(store.event_body(ours).await.unwrap().unwrap(), body, "body {at}");
        let detail = store.event(&id).await.unwrap().pop().unwrap();
        let kept = hookonce::received::Headers::from_bytes(&detail.headers.unwrap());
        assert_eq!(kept, headers, "headers {at}");
    }
});

both_databases!(a_row_that_the_database_refuses_fails_alone, |db| async move {
    let store = db.store().await;
    // A handler's name can hold no NUL, so the poison is put where only the database looks: a
    // constraint of this test.
    let constraint = match db.kind() {
        crate::support::Kind::Postgres => {
            "ALTER TABLE event ADD CONSTRAINT no_poison CHECK (event_id <> 'poison')"
        }
        crate::support::Kind::Sqlite => {
            "CREATE TRIGGER no_poison BEFORE INSERT ON event WHEN NEW.event_id = 'poison'
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        }
    };
    db.run(constraint).await;
    let mut batch: Vec<_> = (0..9).map(|at| event(&format!("evt_{at}"), b"{}", &["a"])).collect();
    batch.insert(4, event("poison", b"{}", &["a"]));
    let answers = store.record_batch(batch).await;
    for (at, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Recorded::Fresh { .. }) => assert_ne!(at, 4),
            Err(error) if at == 4 => assert!(!error.is_transient(), "{error:?}"),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 9);
});

both_databases!(a_full_batch_is_recorded_in_one_go, |db| async move {
    let store = db.store().await;
    let batch = (0..BATCH_EVENTS_MAX)
        .map(|at| event(&format!("evt_{at}"), &[b'x'; 2048], &["a"]))
        .collect();
    let answers = store.record_batch(batch).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Recorded::Fresh { .. }))));
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, BATCH_EVENTS_MAX as i64);
});

both_databases!(a_colliding_key_is_seen_and_never_taken_for_a_duplicate, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &[])).await;
    db.run("UPDATE event SET event_id = 'evt_other'").await;
    let error = try_record(&store, event("evt_1", b"{}", &[])).await.unwrap_err();
    assert!(matches!(error, hookonce::store::StoreError::Invariant(_)), "{error:?}");
});

both_databases!(many_writers_agree_on_one_row_for_each_key, |db| async move {
    let store = db.store().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut fresh = 0;
            for round in 0..10 {
                // Each in another order, so that batches cross each other's locks.
                let batch = (0..40)
                    .map(|at| (at * 7 + writer * 13 + round) % 40)
                    .map(|at| event(&format!("evt_{at}"), b"{}", &["a"]))
                    .collect();
                for answer in store.record_batch(batch).await {
                    fresh += usize::from(matches!(answer.unwrap(), Recorded::Fresh { .. }));
                }
            }
            fresh
        });
    }
    let fresh: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(fresh, 40);
    assert_eq!(db.number("SELECT count(*) FROM event").await, 40);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 40);
    assert_eq!(
        db.number("SELECT cast(sum(duplicates) AS bigint) FROM event").await,
        8 * 10 * 40 - 40
    );
});

both_databases!(a_dropped_future_records_all_the_same, |db| async move {
    let store = db.store().await;
    for at in 0..20 {
        let future = store.record_batch(vec![event(&format!("evt_{at}"), b"{}", &["a"])]);
        // Polled once, then dropped, as when a client hangs up.
        drop(tokio::time::timeout(std::time::Duration::ZERO, future).await);
    }
    crate::support::eventually(
        std::time::Duration::from_secs(10),
        "all rows are there",
        async || (db.number("SELECT count(*) FROM event").await == 20).then_some(()),
    )
    .await;
});
