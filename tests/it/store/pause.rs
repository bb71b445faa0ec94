//! Pauses of handlers: one open a handler, and what gives way to what.

use std::time::Duration;

use hookonce::store::Store;
use hookonce::store::pause::{NewPause, PauseCause, PauseKind};

use super::ground::name;
use crate::both_databases;
use crate::support::Kind;

const MINUTE: Duration = Duration::from_secs(60);

async fn pause(store: &Store, kind: PauseKind, reason: &str) -> bool {
    let (handler, reason, by) = (name("a"), reason.to_owned(), "w".to_owned());
    store.pause(NewPause { handler, reason, by, kind }).await.unwrap()
}

/// Causes and reasons of what is paused.
async fn open(store: &Store) -> Vec<(PauseCause, String)> {
    let open = store.open_pauses().await.unwrap();
    open.into_iter().map(|it| (it.cause, it.reason)).collect()
}

both_databases!(a_breakers_pause_gives_way_and_the_others_do_not, |db| async move {
    let store = db.store().await;
    assert_eq!(open(&store).await, []);
    assert!(pause(&store, PauseKind::Breaker(MINUTE), "fails").await);
    let left = store.open_pauses().await.unwrap()[0].left.unwrap();
    assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
    assert!(pause(&store, PauseKind::Breaker(MINUTE * 2), "fails again").await);
    let it = &store.open_pauses().await.unwrap()[0];
    assert!(it.left.unwrap() > MINUTE, "{it:?}");

    // A person's word, or an answer, is not the breaker's to take back.
    assert!(pause(&store, PauseKind::Hand, "by hand").await);
    assert!(!pause(&store, PauseKind::Breaker(MINUTE), "fails").await);
    assert!(!pause(&store, PauseKind::Answer, "410").await);
    assert!(!pause(&store, PauseKind::Hand, "twice").await);
    assert!(!store.resume(name("a"), true).await.unwrap());
    assert_eq!(open(&store).await, [(PauseCause::Hand, "by hand".to_owned())]);
    assert!(store.resume(name("a"), false).await.unwrap());
    assert!(!store.resume(name("a"), false).await.unwrap());
    assert!(!store.resume(name("b"), false).await.unwrap());
    assert_eq!(open(&store).await, []);

    assert!(pause(&store, PauseKind::Breaker(Duration::from_secs(1)), "fails").await);
    assert!(store.resume(name("a"), true).await.unwrap());
    assert_eq!(db.number("SELECT count(*) FROM handler_pause").await, 2, "what was is kept");
});

both_databases!(a_pause_read_at_once_is_not_longer_than_it_was_made, |db| async move {
    let store = db.store().await;
    for _ in 0..200 {
        assert!(pause(&store, PauseKind::Breaker(MINUTE), "fails").await);
        let left = store.open_pauses().await.unwrap()[0].left.unwrap();
        assert!(left <= MINUTE, "{left:?}");
    }
});

both_databases!(the_history_says_how_long_a_handler_was_paused, |db| async move {
    let store = db.store().await;
    pause(&store, PauseKind::Hand, "x").await;
    store.resume(name("a"), false).await.unwrap();
    let back = match db.kind() {
        Kind::Postgres => |hours: u32| format!("clock_timestamp() - interval '{hours} hours'"),
        Kind::Sqlite => {
            |hours: u32| format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-{hours} hours')")
        }
    };
    db.run(&format!("UPDATE handler_pause SET since = {}, ended_at = {}", back(5), back(3))).await;
    pause(&store, PauseKind::Answer, "x").await;
    db.run(&format!("UPDATE handler_pause SET since = {} WHERE ended_at IS NULL", back(1))).await;
    let history = store.pause_history().await.unwrap();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    for (time, want) in [(10, 3), (4, 2), (2, 1), (1, 1)] {
        let got = history.within(&name("a"), hours(time));
        let off = got.abs_diff(hours(want));
        assert!(off < MINUTE, "{time} h: {got:?}");
    }
    assert_eq!(history.within(&name("b"), hours(10)), Duration::ZERO);

    // What no retry policy looks back to is forgotten with the next pause.
    store.resume(name("a"), false).await.unwrap();
    let (since, ended) = (back(3000), back(2400));
    db.run(&format!("UPDATE handler_pause SET since = {since}, ended_at = {ended}")).await;
    pause(&store, PauseKind::Hand, "x").await;
    assert_eq!(db.number("SELECT count(*) FROM handler_pause").await, 1);
});
