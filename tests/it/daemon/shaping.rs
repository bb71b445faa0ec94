//! Which events a handler gets by their content, and in what form.

use super::{PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::Endpoint;
use crate::support::daemon::wait_until_settled;

const TRIES: &str = "SELECT e.event_id || ' ' || d.state || ' ' || a.outcome
    FROM delivery d JOIN event e ON e.id = d.event_id JOIN attempt a ON a.delivery_id = d.id
    ORDER BY e.event_id";

both_databases!(
    an_event_is_skipped_by_when_and_what_is_taken_is_sent_transformed,
    |db| async move {
        let endpoint = Endpoint::start().await;
        let lines = r#"when = 'body.type == "invoice.paid" && headers["content-type"] == "application/json"'
transform = '{id: $event.id, paid: .data.object.amount_paid}'"#;
        let daemon = billing(&db, &endpoint, lines).start().await;
        for (id, kind) in [("evt_1", "invoice.paid"), ("evt_2", "invoice.voided")] {
            daemon.sender().send(STRIPE, &stripe().event(id, kind)).await.assert_accepted();
        }
        wait_until_settled(&db, PATIENCE).await;
        let calls = endpoint.wait_for_calls(1, PATIENCE).await;
        assert_eq!(endpoint.count(), 1);
        assert_eq!(calls[0].body, br#"{"id":"evt_1","paid":4200}"#);
        assert_eq!(calls[0].header("content-type"), "application/json");
        assert_eq!(db.texts(TRIES).await, ["evt_1 delivered delivered", "evt_2 cancelled skipped"]);
        let cause = "SELECT cause FROM delivery WHERE state = 'cancelled'";
        assert_eq!(db.texts(cause).await, ["skipped: `when` is false"]);
        let metrics = String::from_utf8(daemon.get("/metrics").await.body).unwrap();
        let skipped = r#"hookonce_deliveries_total{handler="billing",outcome="skipped"} 1"#;
        assert!(metrics.contains(skipped), "{metrics}");
    }
);

both_databases!(an_event_that_an_expression_fails_on_is_dead_at_once, |db| async move {
    let endpoint = Endpoint::start().await;
    let lines = r#"when = 'event.type != "a" || body.gone == 1'
transform = 'if $event.type == "b" then .type.x else empty end'"#;
    let daemon = billing(&db, &endpoint, lines).start().await;
    for (id, kind) in [("evt_1", "a"), ("evt_2", "b"), ("evt_3", "c")] {
        daemon.sender().send(STRIPE, &stripe().event(id, kind)).await.assert_accepted();
    }
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 0);
    assert_eq!(
        db.texts(TRIES).await,
        ["evt_1 dead reject", "evt_2 dead reject", "evt_3 dead reject"]
    );
    let causes =
        "SELECT d.cause FROM delivery d JOIN event e ON e.id = d.event_id ORDER BY e.event_id";
    assert_eq!(
        db.texts(causes).await,
        [
            "`when`: there is no field `gone`; guard it with has(…)",
            "`transform`: it looks for a field in what isn't an object",
            "`transform` gave no value; it must give one",
        ]
    );
});
