//! Events of one lane that come after a newer one.

use serde_json::json;

use super::{PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::endpoint::Answer;
use crate::support::sender::Signed;
use crate::support::{Daemon, Endpoint, TestDatabase};

const LANE: &str = "lane = \"body:/object\"\non_dead = \"skip\"\nversion = \"body:/created\"\n";

fn event(id: &str, object: &str, created: serde_json::Value) -> Signed {
    let body = json!({ "id": id, "type": "x", "object": object, "created": created });
    stripe().sign(id, "x", body.to_string())
}

/// Sends events one after the other, each when the one before it is settled.
async fn send(db: &TestDatabase, daemon: &Daemon, events: &[(&str, &str, serde_json::Value)]) {
    for (id, object, created) in events {
        daemon.sender().send(STRIPE, &event(id, object, created.clone())).await.assert_accepted();
        wait_until_settled(db, PATIENCE).await;
    }
}

const ENDS: &str = "SELECT e.event_id || ' ' || d.state || COALESCE(' ' || d.cause, '')
    FROM delivery d JOIN event e ON e.id = d.event_id ORDER BY e.event_id";

const STALE: &str = "cancelled skipped: stale, a newer version in its lane was delivered before";

both_databases!(a_stale_event_is_skipped_and_only_in_its_lane, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = billing(&db, &endpoint, &format!("{LANE}stale = \"skip\"")).start().await;
    send(
        &db,
        &daemon,
        &[
            ("evt_1", "a", json!(1_700_000_005)),
            ("evt_2", "a", json!(1_700_000_003)),
            ("evt_3", "a", json!(1_700_000_005)),
            ("evt_4", "a", json!(null)),
            ("evt_5", "a", json!(1_700_000_004.5)),
            ("evt_6", "b", json!(1)),
        ],
    )
    .await;
    // What was tried and is dead was never delivered: what is older than that may still come.
    endpoint.answer_next([Answer::status(400)]);
    send(
        &db,
        &daemon,
        &[("evt_7", "a", json!(1_700_000_009)), ("evt_8", "a", json!(1_700_000_008))],
    )
    .await;
    let ends = db.texts(ENDS).await;
    let stale = |id: &str| format!("{id} {STALE}");
    assert_eq!(ends[0], "evt_1 delivered");
    assert_eq!(ends[1], stale("evt_2"));
    assert_eq!(ends[2..4], ["evt_3 delivered", "evt_4 delivered"]);
    assert_eq!(ends[4], stale("evt_5"));
    assert_eq!(ends[5], "evt_6 delivered");
    assert!(ends[6].starts_with("evt_7 dead"), "{}", ends[6]);
    assert_eq!(ends[7], "evt_8 delivered");
    assert_eq!(endpoint.count(), 6);
    assert!(
        endpoint
            .calls()
            .iter()
            .all(|call| call.headers.iter().all(|(name, _)| name != "hookonce-stale"))
    );
});

both_databases!(events_without_a_lane_are_not_compared_with_one_another, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = billing(&db, &endpoint, &format!("{LANE}stale = \"skip\"")).start().await;
    for (id, created) in [("evt_1", 5), ("evt_2", 3)] {
        let body = json!({ "id": id, "type": "x", "created": created }).to_string();
        daemon.sender().send(STRIPE, &stripe().sign(id, "x", body)).await.assert_accepted();
        wait_until_settled(&db, PATIENCE).await;
    }
    assert_eq!(db.texts(ENDS).await, ["evt_1 delivered", "evt_2 delivered"]);
});

both_databases!(a_handler_that_wants_to_know_is_told_what_is_stale, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = billing(&db, &endpoint, &format!("{LANE}stale = \"flag\"")).start().await;
    let at = |time: &str| json!(time);
    send(
        &db,
        &daemon,
        &[
            ("evt_1", "a", at("2026-11-26T10:00:00Z")),
            ("evt_2", "a", at("2026-11-26T10:30:00+01:00")),
            ("evt_3", "a", at("2026-11-26T10:00:00.001Z")),
        ],
    )
    .await;
    let told: Vec<_> = endpoint
        .calls()
        .iter()
        .map(|call| {
            call.headers.iter().find(|(name, _)| name == "hookonce-stale").map(|(_, it)| it.clone())
        })
        .collect();
    assert_eq!(told, [None, Some("true".to_owned()), None]);
    assert_eq!(db.texts(ENDS).await, ["evt_1 delivered", "evt_2 delivered", "evt_3 delivered"]);
});

both_databases!(a_replay_of_what_is_stale_by_now_is_skipped_too, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = billing(&db, &endpoint, &format!("{LANE}stale = \"skip\"")).start().await;
    send(&db, &daemon, &[("evt_1", "a", json!(1)), ("evt_2", "a", json!(2))]).await;
    daemon.run(&["event", "replay", "evt_1", "--again", "--yes"]).await.code(0);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 2);
    let ends =
        db.texts("SELECT state || COALESCE(' ' || cause, '') FROM delivery ORDER BY id").await;
    assert_eq!(ends, ["delivered", "delivered", STALE]);
});
