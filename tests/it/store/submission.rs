//! Several events that were submitted together are recorded together or not at all.

use hookonce::store::{NewEvent, Recorded};

use super::ground::{event, fresh};
use crate::both_databases;
use crate::support::{Kind, TestDatabase};

fn numbered(range: std::ops::Range<usize>) -> Vec<NewEvent> {
    range
        .map(|at| event(&format!("evt_{at}"), format!("{{\"n\":{at}}}").as_bytes(), &["a"]))
        .collect()
}

/// A constraint of the test: an event with the id `poison` is refused.
async fn refuse_poison(db: &TestDatabase) {
    db.run(match db.kind() {
        Kind::Postgres => "ALTER TABLE event ADD CONSTRAINT no_poison CHECK (event_id <> 'poison')",
        Kind::Sqlite => {
            "CREATE TRIGGER no_poison BEFORE INSERT ON event WHEN NEW.event_id = 'poison'
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        }
    })
    .await;
}

both_databases!(a_part_that_the_database_refuses_leaves_none_of_its_submission, |db| async move {
    let store = db.store().await;
    refuse_poison(&db).await;
    // Three submissions in one batch: 3 events, 400 with a bad one in their middle, and 2.
    let mut batch = numbered(0..3);
    batch.extend(numbered(100..300));
    batch.push(event("poison", b"{}", &["a"]));
    batch.extend(numbered(300..499));
    batch.extend(numbered(3..5));
    let answers = store.record_submissions(batch, vec![3, 400, 2]).await;
    assert_eq!(answers.len(), 405);
    for (at, answer) in answers.iter().enumerate() {
        let fails = (3..403).contains(&at);
        assert_eq!(answer.is_err(), fails, "{at}: {answer:?}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 5);
    assert_eq!(db.number("SELECT count(*) FROM event_body").await, 5);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 5);
});

both_databases!(a_submission_larger_than_a_batch_is_recorded_in_one_go, |db| async move {
    let store = db.store().await;
    let first = store.record_submissions(numbered(0..1000), vec![1000]).await;
    let ids: Vec<_> = first.into_iter().map(|one| one.unwrap().event()).collect();
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 1000);
    // Again, with as many new ones between the known ones.
    let mut mixed = numbered(500..1000);
    mixed.extend(numbered(1000..1500));
    let answers = store.record_submissions(mixed, vec![1000]).await;
    for (at, answer) in answers.into_iter().enumerate() {
        match answer.unwrap() {
            Recorded::Duplicate { event, conflict } => {
                assert!(at < 500);
                assert_eq!((event, conflict), (ids[500 + at], false));
            }
            Recorded::Fresh { .. } => assert!(at >= 500),
            Recorded::Replay { .. } => panic!("{at}: a replay"),
        }
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 1500);
    assert_eq!(db.number("SELECT CAST(sum(duplicates) AS bigint) FROM event").await, 500);
});

both_databases!(of_two_parts_with_one_id_the_first_is_kept, |db| async move {
    let store = db.store().await;
    let batch = vec![
        event("evt_1", b"first", &["a"]),
        event("evt_2", b"other", &["a"]),
        event("evt_1", b"second", &["a"]),
        event("evt_2", b"other", &["a"]),
    ];
    let answers = store.record_submissions(batch, vec![4]).await;
    let answers: Vec<Recorded> = answers.into_iter().map(Result::unwrap).collect();
    let (one, two) = (answers[0].event(), answers[1].event());
    assert!(matches!(answers[0], Recorded::Fresh { .. }));
    assert!(matches!(answers[1], Recorded::Fresh { .. }));
    assert_eq!(answers[2], Recorded::Duplicate { event: one, conflict: true });
    assert_eq!(answers[3], Recorded::Duplicate { event: two, conflict: false });
    assert_eq!(store.event_body(one).await.unwrap().unwrap(), b"first");
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 2);
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 1);
});

both_databases!(many_writers_of_crossing_submissions_agree, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_0", b"{\"n\":0}", &["a"])).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..6_usize {
        let store = store.clone();
        tasks.spawn(async move {
            let mut fresh = 0;
            for round in 0..5 {
                let submission: Vec<NewEvent> = (0..60)
                    .flat_map(|at| {
                        let n = (at * 7 + writer * 13 + round) % 60;
                        numbered(n..n + 1)
                    })
                    .collect();
                let sizes = vec![20, 40];
                for answer in store.record_submissions(submission, sizes).await {
                    fresh += usize::from(matches!(answer.unwrap(), Recorded::Fresh { .. }));
                }
            }
            fresh
        });
    }
    let fresh: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(fresh, 59);
    assert_eq!(db.number("SELECT count(*) FROM event").await, 60);
    assert_eq!(
        db.number("SELECT CAST(sum(duplicates) AS bigint) FROM event").await,
        6 * 5 * 60 - 59
    );
});
