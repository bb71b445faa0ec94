//! A server that recovered from the death of one of its processes: it is the same one, and what it had not written
//! down it may count again.

use std::sync::Arc;
use std::time::Duration;

use hookonce::store::effect::{Effected, Kept, Tx};
use hookonce::store::{Store, StoreError, StoreSettings, Verdict};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::oneshot;

use super::account;
use super::apart::commit_apart;
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::leash::signal;
use crate::support::{PostgresServer, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

const NUMBER: &str = "SELECT pg_current_xact_id()::text::int8";

/// Nothing but a commit writes down what a transaction did.
const SETTINGS: [&str; 3] = ["wal_writer_delay=10s", "bgwriter_lru_maxpages=0", "autovacuum=off"];

/// Kills one of the server's sessions, and returns when all the others are gone as well and it serves again.
async fn crash(db: &TestDatabase) {
    let checkpointer = "SELECT pid::int8 FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let before = db.number(checkpointer).await;
    let mut session = PgConnection::connect(&db.url()).await.unwrap();
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await.unwrap();
    signal("KILL", &[pid.try_into().unwrap()]);
    eventually(PATIENCE, "the server to serve again", || async {
        db.try_number(checkpointer).await.ok().filter(|now| *now != before)
    })
    .await;
}

/// Adds one and goes on until somebody else has committed under its number, unless that was passed over.
async fn lose_number(tx: &mut Tx<'_>, db: &TestDatabase) -> bool {
    let connection = tx.postgres().unwrap();
    connection.execute("UPDATE acct SET n = n + 1").await.unwrap();
    let ours: i64 = sqlx::query_scalar(NUMBER).fetch_one(connection).await.unwrap();
    crash(db).await;
    loop {
        let theirs = db.number(NUMBER).await;
        if theirs >= ours {
            return theirs == ours;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_given_again_says_nothing_of_ours() {
    let start = || PostgresServer::start_with(&SETTINGS);
    let server = Arc::new(tokio::task::spawn_blocking(start).await.unwrap());
    let db = TestDatabase::on(server).await;
    account(&db).await;
    // An ordinary role, which is told nothing about the server's other sessions.
    let name = db.url().rsplit('/').next().unwrap().to_owned();
    let mut session = PgConnection::connect(&db.url()).await.unwrap();
    let grant = format!(
        "CREATE ROLE plain LOGIN; GRANT ALL ON acct TO plain; ALTER DATABASE \"{name}\" OWNER TO plain"
    );
    session.execute(AssertSqlSafe(grant)).await.unwrap();
    session.close().await.unwrap();
    let settings = StoreSettings { url: db.url().replace("postgres@", "plain@"), ..db.settings() };
    for round in 0..20 {
        // After a crash none of its connections is left.
        let store = Store::open(&settings).await.unwrap();
        for apart in [true, false] {
            fresh(&store, event(&format!("evt_{round}_{apart}"), b"{}", &["a"])).await;
            let claim = claim_one(&store, "a").await;
            let delivered = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
            let (seen, (tell, told)) = (db.clone(), oneshot::channel());
            let before = db.number("SELECT n FROM acct").await;
            let ended = store
                .settle_with(delivered, Duration::from_secs(600), move |mut tx| {
                    Box::pin(async move {
                        if apart {
                            commit_apart(&mut tx).await;
                        } else {
                            tell.send(lose_number(&mut tx, &seen).await).unwrap();
                        }
                        Err::<Kept, _>("refused")
                    })
                })
                .await;
            let stands = db.number("SELECT n FROM acct").await - before;
            if apart {
                assert!(matches!(ended, Err(StoreError::Apart)), "{ended:?}");
                assert_eq!(stands, 1);
            } else {
                assert!(matches!(ended, Ok(Effected::Refused(_))), "{ended:?}");
                assert_eq!(stands, 0);
                if told.await.unwrap() {
                    return;
                }
            }
        }
    }
    panic!("no number was given again");
}
