//! A COMMIT that is sent and never arrives: its server waits for it, and holds what it is about.

use std::time::Duration;

use hookonce::store::effect::Kept;
use hookonce::store::{Settled, Store, StoreSettings, Verdict};
use sqlx::Executor;

use super::account;
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::link::deaf_from;
use crate::support::{TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_never_hears_its_commit_is_ended() {
    let db = TestDatabase::postgres().await;
    account(&db).await;
    let url = db.url();
    let server = url.split(['@', '/']).nth(3).unwrap().to_owned();
    let port = deaf_from(server.clone(), b"COMMIT").await;
    let url = url.replace(&server, &format!("127.0.0.1:{port}"));
    let store = Store::open(&StoreSettings { url, ..db.settings() }).await.unwrap();
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let delivered = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
    // The server itself would wait for all of it.
    let limit = Duration::from_secs(3600);
    let ended = store
        .settle_with(delivered, limit, |mut tx| {
            Box::pin(async move {
                tx.postgres().unwrap().execute("UPDATE acct SET n = n + 1").await.unwrap();
                Ok::<_, String>(Kept::default())
            })
        })
        .await;
    assert!(matches!(&ended, Err(error) if error.is_transient()), "{ended:?}");
    let waiting = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    eventually(PATIENCE, "its session's end", || async {
        (db.number(waiting).await == 0).then_some(())
    })
    .await;
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
    let dead = Verdict::Dead { cause: "x".to_owned() };
    let again = settlement(&claim, dead, entity::TryOutcome::Reject);
    let settled = store.settle_batch(vec![again]).await.pop().unwrap();
    assert_eq!(settled.unwrap(), Settled::Done);
}
