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

/// Each form of the statement for one event, by an event that needs it; two of a kind need one for many. Their ids
/// begin so.
fn forms(ids: &str) -> Vec<NewEvent> {
    let id = |n| format!("{ids}{n}");
    let usual =
        [event(&id(1), b"{}", &[]), event(&id(2), b"{}", &["a"]), in_lane(&id(3), "l", false)];
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
    let forms = forms("");
    let alone = forms.iter().map(|event| vec![event]);
    for batch in alone.chain(forms.iter().map(|event| vec![event, event])) {
        let (statement, arguments) =
            (statement_for_postgres(&batch), encode_for_postgres(&batch).unwrap());
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
    let mut signed = 0;
    let alone = forms("a").into_iter().map(|event| vec![event]);
    let pairs = forms("b").into_iter().zip(forms("c")).map(|(one, other)| vec![one, other]);
    for (form, batch) in alone.chain(pairs).enumerate() {
        let wanted: Vec<_> = batch
            .iter()
            .map(|event| {
                let guarded = event.verified.identity().replay.is_some();
                signed += u32::from(guarded);
                // Each after the first of those is a replay of it.
                (event.id, event.deliveries.len(), guarded && signed == 1, guarded && signed > 1)
            })
            .collect();
        let recorded = store.record_batch(batch).await;
        for ((id, deliveries, first, replayed), recorded) in wanted.into_iter().zip(recorded) {
            assert_eq!(recorded.unwrap().event(), id, "form {form}");
            let row = format!(
                "SELECT count(*) FROM event WHERE id = '{id}' AND octet_length(digest) = 32 AND held IS NULL
                    AND expires_at > received_at AND (signed_digest IS NOT NULL) = {first}
                    AND (replay_of IS NOT NULL) = {replayed}"
            );
            assert_eq!(db.number(&row).await, 1, "form {form}");
            let body = format!(
                "SELECT count(*) FROM event_body WHERE event_id = '{id}' AND body = '{{}}'"
            );
            assert_eq!(db.number(&body).await, 1, "form {form}");
            let opened = format!(
                "SELECT count(*) FROM delivery
                  WHERE event_id = '{id}' AND state = 'pending' AND handler = 'a'"
            );
            assert_eq!(db.number(&opened).await, i64::try_from(deliveries).unwrap(), "form {form}");
        }
    }
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE lane = 'l'").await, 6);
}
