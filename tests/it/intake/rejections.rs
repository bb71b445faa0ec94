//! Refused requests are kept with their reason, bounded, and can be let in when the secret was wrong.

use std::time::Duration;

use serde_json::{Value, json};

use super::{GITHUB, events, github, logged};
use crate::both_databases;
use crate::support::raw::RawRequest;
use crate::support::sender::{Sent, Signed};
use crate::support::{Daemon, DaemonPlan, Signer, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

async fn listed(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.get("/api/v1/rejections?source=github&limit=100").await.json();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Sends what is refused until a rejection has this cause: a diagnosis that takes longer than it may is given up. Gives
/// the last answer as well.
async fn diagnosed(daemon: &Daemon, signed: &Signed, cause: &str) -> (Sent, Value) {
    eventually(PATIENCE, cause, || async {
        let before = listed(daemon).await.len();
        let answer = daemon.sender().send(GITHUB, signed).await;
        answer.assert_refused(401, "signature_mismatch");
        let kept = eventually(PATIENCE, "the rejection", || async {
            Some(listed(daemon).await).filter(|kept| kept.len() > before)
        })
        .await;
        let kept = kept.into_iter().find(|kept| kept["diagnosis"]["cause"] == cause)?;
        Some((answer, kept))
    })
    .await
}

both_databases!(a_refused_request_is_kept_with_its_reason_and_not_its_secrets, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let forged = github().with_secret("somebody-elses-secret").event("d-1", "push");
    daemon.sender().send(GITHUB, &forged).await.assert_refused(401, "signature_mismatch");
    let kept = eventually(PATIENCE, "the rejection", || async {
        let list = daemon.get("/api/v1/rejections?source=github").await.json();
        list["items"].as_array().filter(|items| !items.is_empty()).cloned()
    })
    .await;
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (&kept[0]["code"], &kept[0]["source"]),
        (&json!("signature_mismatch"), &json!("github"))
    );
    let shown =
        daemon.get(&format!("/api/v1/rejections/{}", kept[0]["id"].as_str().unwrap())).await;
    let text = String::from_utf8(shown.body).unwrap();
    assert!(text.contains("x-hub-signature-256"), "{text}");
    assert!(!text.contains(github().secret()), "{text}");
});

// Who runs it learns what happened; who sends it learns nothing that it didn't before.
both_databases!(the_cause_is_kept_with_a_refusal_and_not_told_to_the_sender, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let mut broken = github().event("d-1", "push");
    broken.body.push(b'\n');
    let (answer, kept) = diagnosed(&daemon, &broken, "body_newline_added").await;
    let told = format!("{answer:?}");
    assert!(!told.contains("line end") && !told.contains("newline"), "{told}");
    assert_eq!(kept["diagnosis"]["step"], json!("match"), "{kept}");
    let detail = kept["detail"].as_str().unwrap();
    assert!(!detail.contains('\n') && !detail.contains("body_newline_added"), "{detail}");
    assert!(!kept.to_string().contains(github().secret()), "{kept}");
    let id = kept["id"].as_str().unwrap();
    let shown = daemon.run(&["rejection", "show", id]).await;
    assert!(shown.code(0).text().contains("body_newline_added"), "{}", shown.text());
    let listed = daemon.run(&["rejection", "list"]).await;
    assert!(listed.code(0).text().contains("body_newline_added"), "{}", listed.text());
});

// As when a test environment's endpoint is set to the address of the real one.
both_databases!(a_request_that_is_another_sources_is_called_so, |db| async move {
    let test = github().with_secret("the-secret-of-the-test-environment");
    let daemon = DaemonPlan::on(&db)
        .source(&github())
        .toml("[sources.test]\nprovider = \"github\"\nsecrets = [{ value = \"the-secret-of-the-test-environment\" }]")
        .start()
        .await;
    let (_, kept) = diagnosed(&daemon, &test.event("d-1", "push"), "other_source").await;
    assert!(kept["diagnosis"].to_string().contains("`test`"), "{kept}");
    assert!(!kept.to_string().contains("the-secret-of"), "{kept}");
});

// A flood costs a few diagnoses a second; the others are kept without one.
both_databases!(a_flood_of_forged_requests_is_not_all_diagnosed, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let forged = github().with_secret("somebody-elses-secret").event("d-1", "push");
    for _ in 0..20 {
        daemon.sender().send(GITHUB, &forged).await.assert_refused(401, "signature_mismatch");
    }
    let kept = eventually(PATIENCE, "the rejections", || async {
        let list = daemon.get("/api/v1/rejections?source=github&limit=100").await.json();
        list["items"].as_array().filter(|items| items.len() == 20).cloned()
    })
    .await;
    let with = kept.iter().filter(|item| item["diagnosis"]["cause"] == "secret_wrong").count();
    assert!((1..20).contains(&with), "{with} of 20 were diagnosed");
});

both_databases!(requests_refused_for_a_wrong_secret_are_let_in_once_it_is_right, |db| async move {
    let wrong = github().with_secret("mistyped-secret-0123456789");
    let plan = |signer: &Signer| {
        DaemonPlan::on(&db).source(signer).toml("[handlers.audit]\nfrom = \"github\"\nlog = {}")
    };
    let mut daemon = plan(&wrong).start().await;
    let good = github().event("d-1", "push");
    daemon.sender().send(GITHUB, &good).await.assert_refused(401, "signature_mismatch");
    daemon.sender().send(GITHUB, &wrong.event("d-2", "push")).await.assert_accepted();
    eventually(PATIENCE, "the rejection", || async {
        (db.number("SELECT count(*) FROM rejection").await == 1).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());

    let daemon = plan(&github()).start().await;
    let dry = daemon
        .post("/api/v1/rejections/readmit", &json!({ "source": "github", "dry_run": true }))
        .await;
    assert_eq!(dry.status, 200, "{dry:?}");
    assert_eq!(events(&db).await, 1);
    for _ in 0..2 {
        let done = daemon.post("/api/v1/rejections/readmit", &json!({ "source": "github" })).await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    assert_eq!(events(&db).await, 2);
    assert_eq!(db.bytes("SELECT body FROM event_body b JOIN event e ON e.id = b.event_id WHERE e.event_id = 'd-1'").await, std::slice::from_ref(&good.body));
    // When the sender comes again itself, it is a duplicate.
    daemon.sender().send(GITHUB, &good).await.assert_duplicate();
});

// A right token with a body that is no event: the token opens the door for any other body.
both_databases!(a_token_that_was_right_is_kept_and_never_shown, |db| async move {
    let token = "a-token-that-opens-the-door";
    let daemon = DaemonPlan::on(&db)
        .toml(&format!(
            r#"[sources.shop]
verify  = {{ any = [{{ token = "header:x-token" }}, {{ token = "query:token" }}] }}
event   = {{ id = "body:/id" }}
secrets = [{{ value = "{token}" }}]
"#
        ))
        .start()
        .await;
    let asked = [
        RawRequest::post("/in/shop", "{}").header("x-token", token),
        RawRequest::post(&format!("/in/shop?token={token}"), "{}"),
    ];
    for request in asked {
        let answer = request.send(daemon.public()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "id_missing"));
    }
    let kept = eventually(PATIENCE, "the rejections", || async {
        let list = daemon.get("/api/v1/rejections?source=shop").await.json();
        list["items"].as_array().filter(|items| items.len() == 2).cloned()
    })
    .await;
    for item in &kept {
        let id = item["id"].as_str().expect("an id");
        let shown = daemon.get(&format!("/api/v1/rejections/{id}")).await.json();
        let texts = [item.to_string(), shown.to_string()];
        assert!(texts.iter().all(|text| !text.contains(token)), "{texts:?}");
        // In a URL with its parentheses escaped.
        assert!(shown.to_string().contains("hidden"), "{shown}");
    }
    for arguments in [vec!["rejection", "list", "-o", "json"], vec!["rejection", "list"]] {
        assert!(!daemon.run(&arguments).await.text().contains(token));
    }
    // What was sent is what is judged again.
    let again =
        daemon.run(&["rejection", "readmit", "--source", "shop", "-o", "json"]).await.text();
    assert!(again.contains("id_missing"), "{again}");
});
