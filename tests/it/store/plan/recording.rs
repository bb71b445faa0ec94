//! Recording: what a batch costs grows with its events, and not with their square.

use std::collections::HashSet;

use hookonce::store::record::{encode_for_postgres, statement_for_postgres};
use hookonce::store::{HOT_PLANNING, NewEvent};
use sqlx::{Arguments, AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

use crate::store::ground::event;
use crate::store::lane::in_lane;
use crate::store::suspect;
use crate::support::TestDatabase;

/// Each form of the statement, by an event that needs it.
fn forms() -> Vec<NewEvent> {
    let usual = [event("1", b"{}", &[]), event("2", b"{}", &["a"]), in_lane("3", "l", false)];
    let open = suspect::source("open", None);
    let guarded = usual.each_ref().map(|event| {
        let mut deliveries = event.deliveries.clone();
        for delivery in &mut deliveries {
            delivery.id = Uuid::now_v7();
        }
        let id = Uuid::now_v7().to_string();
        NewEvent { deliveries, ..suspect::of(&open, &id, "{}") }
    });
    usual.into_iter().chain(guarded).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_the_statement_compares_each_body_with_each_event() {
    let db = TestDatabase::postgres().await;
    let mut connection = PgConnection::connect(&db.url()).await.unwrap();
    for (setting, value) in HOT_PLANNING {
        let set = AssertSqlSafe(format!("SET {setting} = {value}"));
        sqlx::raw_sql(set).execute(&mut connection).await.unwrap();
    }
    let mut seen = HashSet::new();
    for event in forms() {
        let (statement, arguments) =
            (statement_for_postgres(&[&event]), encode_for_postgres(&[&event]).unwrap());
        assert!(seen.insert(statement), "a form of its own:\n{statement}");
        let parameters = (1..).take_while(|n| statement.contains(&format!("${n}::"))).count();
        assert_eq!(arguments.len(), parameters, "{statement}");
        let nothing = vec!["NULL"; parameters].join(", ");
        let explain = format!(
            "DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan;
             PREPARE hot AS {statement}; EXPLAIN EXECUTE hot ({nothing})"
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("hashed SubPlan"), "{plan}");
        assert!(!plan.contains("Join") && !plan.contains("Nested Loop"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_the_statement_records_what_it_was_given() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    for (form, event) in forms().into_iter().enumerate() {
        // Of the guarded ones, each after the first is a replay of it.
        let (id, kept) = (event.id, event.deliveries.len());
        let guarded = event.verified.identity().replay.is_some();
        let replayed = form > 3;
        let recorded = store.record_batch(vec![event]).await.pop().unwrap().unwrap();
        assert_eq!(recorded.event(), id, "form {form}");
        let is = format!(
            "WHERE id = '{id}' AND octet_length(digest) = 32 AND held IS NULL AND expires_at > received_at"
        );
        let signed = format!("{is} AND (signed_digest IS NOT NULL) = {}", guarded && !replayed);
        let replay = format!("{signed} AND (replay_of IS NOT NULL) = {replayed}");
        assert_eq!(
            db.number(&format!("SELECT count(*) FROM event {replay}")).await,
            1,
            "form {form}"
        );
        let body =
            format!("SELECT count(*) FROM event_body WHERE event_id = '{id}' AND body = '{{}}'");
        assert_eq!(db.number(&body).await, 1, "form {form}");
        let deliveries = format!(
            "SELECT count(*) FROM delivery WHERE event_id = '{id}' AND state = 'pending' AND handler = 'a'"
        );
        assert_eq!(db.number(&deliveries).await, i64::try_from(kept).unwrap(), "form {form}");
    }
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE lane = 'l'").await, 2);
}
