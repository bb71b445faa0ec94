//! Signed bytes that come again under another id, where neither the id nor a time is signed.

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use entity::Name;
use hookonce::source::spec::SourceSpec;
use hookonce::source::{OnReplay, Source, SourceSettings};
use hookonce::store::{NewDelivery, NewEvent, Recorded, Store, StoreError};
use uuid::Uuid;

use super::ground::{DAY, event, fresh, name, received, verified};
use crate::both_databases;

const SECRET: &str = "a-secret-of-more-than-sixteen-bytes";

/// A source whose body is signed, and nothing else.
pub(super) fn source(name: &str, on_replay: Option<OnReplay>) -> Source {
    let spec: SourceSpec = toml::from_str(
        "verify = { hmac = \"sha256\", signature = { from = \"header:x-sig\" } }\nevent = { id = \"header:x-id\" }\n",
    )
    .unwrap();
    Source::compile(SourceSettings {
        secrets: vec![hookonce::secret::Secret::new(SECRET.to_owned())],
        max_body: 1 << 20,
        on_replay,
        ..SourceSettings::new(Name::new(name).unwrap(), spec)
    })
    .unwrap_or_else(|faults| panic!("{faults:?}"))
}

pub(super) fn of(source: &Source, id: &str, body: &str) -> NewEvent {
    let request = received(&[("x-id", id.as_bytes())], body.as_bytes());
    let request = source.sign(request, Utc::now(), 0).unwrap();
    assert_eq!(request.body, Bytes::copy_from_slice(body.as_bytes()));
    NewEvent {
        id: Uuid::now_v7(),
        verified: verified(source, request),
        deliveries: vec![NewDelivery::pending(name("a"))],
        keys: 35 * DAY,
        bodies: 30 * DAY,
    }
}

async fn record(store: &Store, events: Vec<NewEvent>) -> Vec<Recorded> {
    let answers = store.record_batch(events).await;
    answers.into_iter().collect::<Result<_, StoreError>>().unwrap()
}

fn earlier(recorded: &Recorded) -> Option<Uuid> {
    match recorded {
        Recorded::Fresh { replay_of, .. } => *replay_of,
        other => panic!("not fresh: {other:?}"),
    }
}

both_databases!(the_same_signed_bytes_under_another_id_are_marked_and_run, |db| async move {
    let store = db.store().await;
    let open = source("open", None);
    let first = record(&store, vec![of(&open, "one", "{}")]).await[0];
    assert_eq!(earlier(&first), None);
    // A retry under its own id is a duplicate, and stays one.
    let again = record(&store, vec![of(&open, "one", "{}")]).await[0];
    assert_eq!(again, Recorded::Duplicate { event: first.event(), conflict: false });
    for id in ["two", "three"] {
        let replay = record(&store, vec![of(&open, id, "{}")]).await[0];
        assert_eq!(earlier(&replay), Some(first.event()));
        let again = record(&store, vec![of(&open, id, "{}")]).await[0];
        assert_eq!(again, Recorded::Duplicate { event: replay.event(), conflict: false });
    }
    let other = record(&store, vec![of(&open, "four", "{ }")]).await[0];
    assert_eq!(earlier(&other), None);
    // Another source is another matter.
    let beside = record(&store, vec![of(&source("beside", None), "two", "{}")]).await[0];
    assert_eq!(earlier(&beside), None);
    assert_eq!(db.number("SELECT count(*) FROM event WHERE replay_of IS NOT NULL").await, 2);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 5);
    let shown = store.event("two").await.unwrap();
    let shown: Vec<_> = shown.iter().map(|it| it.event.replay_of).collect();
    assert!(shown.contains(&Some(first.event())), "{shown:?}");
});

both_databases!(a_replay_is_refused_where_the_operator_says_so, |db| async move {
    let store = db.store().await;
    let strict = source("strict", Some(OnReplay::Reject));
    let first = record(&store, vec![of(&strict, "one", "{}")]).await[0];
    let mut batch = vec![of(&strict, "two", "{}"), of(&strict, "three", "{ }")];
    batch.push(of(&strict, "one", "{}"));
    let answers = record(&store, batch).await;
    assert_eq!(answers[0], Recorded::Replay { of: first.event() });
    assert_eq!(earlier(&answers[1]), None);
    assert_eq!(answers[2], Recorded::Duplicate { event: first.event(), conflict: false });
    assert_eq!(db.number("SELECT count(*) FROM event").await, 2);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 2);
    // A request whose first copy was forgotten is new again, as its id is.
    for table in ["delivery", "event_body", "event"] {
        db.run(&format!("DELETE FROM {table}")).await;
    }
    assert_eq!(earlier(&record(&store, vec![of(&strict, "two", "{}")]).await[0]), None);
});

both_databases!(within_one_batch_one_of_the_same_bytes_is_not_marked, |db| async move {
    let store = db.store().await;
    let open = source("open", None);
    let mut batch: Vec<NewEvent> = (0..20).map(|n| of(&open, &format!("id{n}"), "same")).collect();
    // Beside events of a source that has nothing to see, and copies.
    batch.push(event("plain", b"same", &["a"]));
    batch.push(event("plain2", b"same", &["a"]));
    batch.push(of(&open, "id7", "same"));
    let answers = record(&store, batch).await;
    let unmarked: Vec<Uuid> =
        answers[..20].iter().filter(|one| earlier(one).is_none()).map(Recorded::event).collect();
    assert_eq!(unmarked.len(), 1);
    assert!(answers[..20].iter().all(|one| earlier(one).is_none_or(|it| it == unmarked[0])));
    assert_eq!((earlier(&answers[20]), earlier(&answers[21])), (None, None));
    assert_eq!(answers[22].event(), answers[7].event());
    assert_eq!(db.number("SELECT count(*) FROM event").await, 22);
    assert_eq!(db.number("SELECT count(*) FROM event WHERE signed_digest IS NOT NULL").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 22);
});

both_databases!(of_replays_at_the_same_time_all_but_one_are_marked, |db| async move {
    let store = db.store().await;
    fresh(&store, event("warm", b"{}", &["a"])).await;
    for round in 0..10 {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                let open = source("open", None);
                let body = format!("round {round}");
                tokio::time::sleep(Duration::from_millis(writer % 3)).await;
                let one = of(&open, &format!("{round}-{writer}"), &body);
                earlier(&record(&store, vec![one]).await[0])
            });
        }
        let found = tasks.join_all().await;
        let unmarked = found.iter().filter(|earlier| earlier.is_none()).count();
        assert_eq!(unmarked, 1, "round {round}: {found:?}");
    }
});
