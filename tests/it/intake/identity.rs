//! Which event a request is: once for each id, and no id can be used against another event.

use serde_json::json;

use super::{GITHUB, STRIPE, events, github, logged, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Endpoint, Signer, eventually};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

both_databases!(
    an_id_that_stands_twice_is_stored_but_dispatches_nothing_and_blocks_nobody,
    |db| async move {
        let endpoint = Endpoint::start().await;
        let plan = DaemonPlan::on(&db).source(&stripe()).calls(
            "billing",
            "stripe",
            &endpoint.url("/"),
            "",
        );
        let daemon = plan.start().await;
        let sender = daemon.sender();
        let ambiguous = stripe().sign("", "", r#"{"id":"evt_1","type":"x","id":"evt_2"}"#);
        sender.send(STRIPE, &ambiguous).await.assert_accepted();
        assert_eq!(db.number("SELECT count(*) FROM delivery").await, 0);
        assert_eq!(db.number("SELECT count(*) FROM event WHERE held = 'duplicate_key'").await, 1);

        // Neither of the two ids is taken.
        for id in ["evt_1", "evt_2"] {
            sender.send(STRIPE, &stripe().event(id, "invoice.paid")).await.assert_accepted();
        }
        endpoint.wait_for_calls(2, PATIENCE).await;
        wait_until_settled(&db, PATIENCE).await;
        assert_eq!(endpoint.count(), 2);
    }
);

both_databases!(another_body_under_a_known_id_is_flagged_and_never_run, |db| async move {
    let endpoint = Endpoint::start().await;
    let plan =
        DaemonPlan::on(&db).source(&stripe()).calls("billing", "stripe", &endpoint.url("/"), "");
    let daemon = plan.start().await;
    let sender = daemon.sender();
    let first = sender.send(STRIPE, &stripe().event("evt_1", "invoice.paid")).await;
    first.assert_accepted();

    // A retry differs in what the preset says that it may differ in.
    let mut retry = stripe().body("evt_1", "invoice.paid");
    retry["pending_webhooks"] = json!(0);
    sender.send(STRIPE, &stripe().sign("", "", retry.to_string())).await.assert_duplicate();
    assert_eq!(db.number("SELECT count(*) FROM event WHERE conflict").await, 0);

    let mut other = stripe().body("evt_1", "invoice.paid");
    other["data"]["object"]["amount_paid"] = json!(1);
    for _ in 0..2 {
        let again = sender.send(STRIPE, &stripe().sign("", "", other.to_string())).await;
        assert_eq!(again.assert_duplicate().event(), first.event());
    }
    assert_eq!(db.number("SELECT count(*) FROM event WHERE conflict").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 1);
    assert_eq!(db.number("SELECT duplicates FROM event").await, 3);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 1);
    assert_eq!(
        endpoint.calls()[0].body,
        stripe().body("evt_1", "invoice.paid").to_string().as_bytes()
    );
});

both_databases!(another_body_is_refused_where_the_operator_says_so, |db| async move {
    let plan = DaemonPlan::on(&db)
        .source_with(&github(), "on_id_conflict = \"reject\"")
        .toml("[handlers.audit]\nfrom = \"github\"\nlog = {}");
    let daemon = plan.start().await;
    let sender = daemon.sender();
    sender.send(GITHUB, &github().sign("d-1", "push", "{}")).await.assert_accepted();
    sender.send(GITHUB, &github().sign("d-1", "push", "{}")).await.assert_duplicate();
    sender
        .send(GITHUB, &github().sign("d-1", "push", "{ }"))
        .await
        .assert_refused(409, "id_conflict");
    assert_eq!(events(&db).await, 1);
});

both_databases!(
    a_replay_under_another_id_is_marked_or_refused_as_the_source_says,
    |db| async move {
        let strict = github();
        let secret = format!("{}-strict", strict.secret());
        let plan = logged(&db, &["github"]).toml(&format!(
        "[sources.strict]\nprovider = \"github\"\nsecrets = [{{ value = {secret:?} }}]\non_replay = \"reject\"\n"
    ));
        let daemon = plan.start().await;
        let sender = daemon.sender();
        let body = r#"{"ref":"main"}"#;
        let first = sender.send(GITHUB, &github().sign("d-1", "push", body)).await.event();
        let second = sender.send(GITHUB, &github().sign("d-2", "push", body)).await;
        let second = second.assert_accepted().event();
        let list = daemon.get("/api/v1/events?source=github").await.json();
        for item in list["items"].as_array().unwrap() {
            let is_second = item["id"] == second.as_str();
            assert_eq!(item["replay_suspected"], is_second, "{item}");
            assert_eq!(item.get("replay_of").is_some(), is_second, "{item}");
        }
        let shown = daemon.get(&format!("/api/v1/events/{second}")).await.json();
        assert_eq!(
            (&shown["replay_suspected"], &shown["replay_of"]),
            (&json!(true), &json!(first))
        );
        let metrics = String::from_utf8(daemon.get("/metrics").await.body).unwrap();
        let line = "hookonce_replays_suspected_total{source=\"github\"} 1";
        assert!(metrics.lines().any(|there| there == line), "{metrics}");
        assert!(daemon.log().contains("this may be a replay"), "{}", daemon.log());

        let strict = strict.with_secret(&secret);
        let to_strict = |id: &str| strict.sign(id, "push", body);
        sender.send("/in/strict", &to_strict("d-1")).await.assert_accepted();
        sender.send("/in/strict", &to_strict("d-1")).await.assert_duplicate();
        sender.send("/in/strict", &to_strict("d-2")).await.assert_refused(409, "replay_suspected");
        assert_eq!(events(&db).await, 3);
        eventually(PATIENCE, "the rejection", || async {
            (db.number("SELECT count(*) FROM rejection WHERE code = 'replay_suspected'").await == 1)
                .then_some(())
        })
        .await;
    }
);

both_databases!(ids_of_two_sources_are_their_own_unless_they_share_a_group, |db| async move {
    let hub = github();
    let table = |name: &str, more: &str| {
        let secret = format!("{}-{name}", hub.secret());
        format!(
            "[sources.{name}]\nprovider = \"github\"\nsecrets = [{{ value = {secret:?} }}]\n{more}\n"
        )
    };
    let plan = DaemonPlan::on(&db)
        .toml(&table("one", "dedupe_group = \"both\""))
        .toml(&table("two", "dedupe_group = \"both\""))
        .toml(&table("three", ""))
        .toml("[handlers.audit]\nfrom = [\"one\", \"two\", \"three\"]\nlog = {}");
    let daemon = plan.start().await;
    let sender = daemon.sender();
    let send = async |name: &str| {
        let signer = Signer::of("github").with_secret(&format!("{}-{name}", hub.secret()));
        sender.send(&format!("/in/{name}"), &signer.event("d-1", "push")).await
    };
    let first = send("one").await;
    first.assert_accepted();
    assert_eq!(send("two").await.assert_duplicate().event(), first.event());
    send("three").await.assert_accepted();
    assert_eq!(events(&db).await, 2);
});

both_databases!(each_of_several_secrets_is_accepted_while_they_rotate, |db| async move {
    let (old, new) = ("rotated-secret-of-last-year", "rotated-secret-of-this-year");
    let plan = DaemonPlan::on(&db).toml(&format!(
        "[sources.github]\nprovider = \"github\"\nsecrets = [{{ value = {new:?} }}, {{ value = {old:?} }}]\n\
         [handlers.audit]\nfrom = \"github\"\nlog = {{}}"
    ));
    let daemon = plan.start().await;
    for (n, secret) in [old, new].into_iter().enumerate() {
        let signed = github().with_secret(secret).event(&format!("d-{n}"), "push");
        daemon.sender().send(GITHUB, &signed).await.assert_accepted();
    }
    let neither = github().with_secret("rotated-secret-of-nobody").event("d-3", "push");
    daemon.sender().send(GITHUB, &neither).await.assert_refused(401, "signature_mismatch");
});
