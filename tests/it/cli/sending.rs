//! `hookonce send`: a provider at one's desk.

use std::collections::HashSet;
use std::process::Stdio;

use serde_json::json;

use super::{PATIENCE, run_in, with_three_events};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::leash::signal;
use crate::support::sender::PROVIDERS;
use crate::support::wait::within;
use crate::support::{Answer, Daemon, DaemonPlan, Endpoint, Signer, eventually};

both_databases!(sent_twice_is_accepted_and_then_a_duplicate, |db| async move {
    let daemon = with_three_events(&db).await;
    let lines =
        daemon.run(&["send", "stripe", "invoice.paid", "--twice", "-o", "jsonl"]).await.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["status"], &lines[0]["code"]), (&json!(200), &json!("accepted")));
    assert_eq!((&lines[1]["status"], &lines[1]["code"]), (&json!(200), &json!("duplicate")));
    assert_eq!(lines[0]["event"], lines[1]["event"]);
    assert_eq!(lines[0]["event_id"], lines[1]["event_id"]);
    assert!(lines[0]["ms"].is_number(), "{lines:?}");
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.number("SELECT count(*) FROM event").await, 4);
    // People read words.
    let text = daemon.run(&["send", "stripe", "invoice.paid", "--twice"]).await;
    assert!(
        text.code(0).text().contains("accepted") && text.text().contains("duplicate"),
        "{}",
        text.text()
    );
});

both_databases!(spoiled_requests_are_refused_and_say_so_by_the_exit_code, |db| async move {
    let daemon = with_three_events(&db).await;
    for (flag, status, code) in [
        ("--bad-signature", 401, "signature_mismatch"),
        ("--stale", 401, "timestamp_stale"),
        ("--truncate", 401, "signature_mismatch"),
    ] {
        let said = daemon.run(&["send", "stripe", "invoice.paid", flag, "-o", "jsonl"]).await;
        said.code(1);
        let line: serde_json::Value = serde_json::from_str(said.text().trim()).unwrap();
        assert_eq!((&line["status"], &line["code"]), (&json!(status), &json!(code)), "{flag}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 3);
});

both_databases!(every_provider_can_be_played_and_what_it_sends_can_be_set, |db| async move {
    let mut plan = DaemonPlan::on(&db);
    for provider in PROVIDERS {
        plan = plan.source(&Signer::of(provider));
    }
    let daemon = plan.start().await;
    for provider in PROVIDERS {
        // Slack's acks say nothing, because it would show a body to people.
        let code = if provider == "slack" { "ok" } else { "accepted" };
        let lines =
            daemon.run(&["send", provider, "--id", "chosen-1", "-o", "jsonl"]).await.lines();
        assert_eq!(lines[0]["code"], code, "{provider}: {lines:?}");
        let lines = daemon
            .run(&["send", provider, "--count", "3", "--concurrent", "2", "-o", "jsonl"])
            .await
            .lines();
        assert_eq!(lines.len(), 3, "{provider}");
        assert!(lines.iter().all(|line| line["code"] == code), "{provider}: {lines:?}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 4 * PROVIDERS.len() as i64);

    let set = [
        "send",
        "stripe",
        "invoice.paid",
        "--set",
        "data.object.amount_paid=777",
        "--id",
        "evt_set",
    ];
    daemon.run(&set).await.code(0);
    let body = daemon.run(&["event", "body", "evt_set"]).await;
    assert!(body.code(0).text().contains("777"), "{}", body.text());
});

both_databases!(ones_own_fixture_is_signed_sent_and_waited_for, |db| async move {
    let endpoint = Endpoint::start().await;
    let plan = DaemonPlan::on(&db).source(&Signer::of("stripe")).calls(
        "billing",
        "stripe",
        &endpoint.url("/"),
        "retry = { attempts = 2, backoff = [\"10ms\"] }",
    );
    let daemon = plan.start().await;
    let fixture = json!({
        "provider": "stripe", "type": "invoice.paid",
        "body_json": { "id": "evt_mine", "object": "event", "type": "invoice.paid", "data": { "object": {} } }
    });
    std::fs::create_dir(daemon.dir().join("mine")).unwrap();
    std::fs::write(daemon.dir().join("mine/invoice-paid.json"), fixture.to_string()).unwrap();
    let one =
        ["send", "mine/invoice-paid.json", "--source", "stripe", "--wait", "30s", "-o", "jsonl"];
    let lines = daemon.run(&one).await.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(endpoint.count(), 1, "it returned when the handler was done");
    daemon.run(&["send", "mine", "--source", "stripe", "--wait", "30s"]).await.code(0);

    endpoint.answer_otherwise(Answer::status(500));
    daemon.run(&["send", "mine", "--source", "stripe", "--wait", "30s"]).await.code(1);
});

both_databases!(a_daemon_that_is_not_there_is_exit_3, |db| async move {
    let daemon = DaemonPlan::on(&db).source(&Signer::of("stripe")).place();
    daemon.run(&["send", "stripe", "invoice.paid"]).await.code(3);
    daemon.run(&["send", "nobody"]).await.code(2);
});

/// The acks of a journal: id, status and code.
fn journal(daemon: &Daemon) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(daemon.dir().join("acks")).unwrap();
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .map(|line| match fields(line).as_slice() {
            [id, status, code] => (id.clone(), status.clone(), code.clone()),
            other => panic!("not a line of a journal: {other:?}"),
        })
        .collect()
}

both_databases!(a_load_is_summed_up_and_the_sum_is_what_was_recorded, |db| async move {
    let daemon = with_three_events(&db).await;
    let load = "send stripe --count 200 --rate 400/s --concurrent 8 --size 2048 --journal acks";
    let load: Vec<_> = load.split(' ').collect();
    let sum = daemon.run(&[&load[..], &["--summary", "-o", "json"]].concat()).await.json();
    assert_eq!((&sum["sent"], &sum["ok"]), (&json!(200), &json!(200)), "{sum}");
    assert_eq!((&sum["accepted"], &sum["duplicates"]), (&json!(200), &json!(0)), "{sum}");
    assert_eq!((&sum["refused"], &sum["errors"]), (&json!({}), &json!(0)), "{sum}");
    assert_eq!((&sum["unsent"], &sum["refused_p50_ms"]), (&json!(0), &json!(null)), "{sum}");
    // The last one is due after 497.5 ms.
    assert!(sum["elapsed_s"].as_f64().unwrap() >= 0.497, "{sum}");
    for number in [
        "p50_ms",
        "p999_ms",
        "max_ms",
        "lag_p99_ms",
        "service_p99_ms",
        "rate_per_s",
        "offered_per_s",
    ] {
        assert!(sum[number].as_f64().unwrap() > 0.0, "{number}: {sum}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 203);

    let acks = journal(&daemon);
    assert_eq!(acks.len(), 200);
    let body = daemon.run(&["event", "body", &acks[0].0]).await;
    assert_eq!(body.code(0).out.len(), 2048);

    // A journal alone is a load too, whose answers are printed; it is added to.
    let lines = daemon.run(&[&load[..], &["--twice", "-o", "jsonl"]].concat()).await;
    lines.code(2).says("--duplicates");
    let lines = daemon.run(&[&load[..], &["-o", "jsonl"]].concat()).await.lines();
    assert_eq!(lines.len(), 200);
    assert!(lines.iter().all(|line| line["code"] == "accepted" && line["event"].is_string()));
    assert_eq!(journal(&daemon).len(), 400);
    let text = daemon.run(&["send", "stripe", "--count", "5", "--summary"]).await;
    assert!(text.code(0).text().contains("5 accepted, 0 duplicates"), "{}", text.text());
});

both_databases!(a_load_with_duplicates_records_each_id_once, |db| async move {
    let daemon = with_three_events(&db).await;
    let load = "send stripe --count 400 --concurrent 8 --duplicates 0.5 --journal acks --summary";
    let load: Vec<_> = load.split(' ').chain(["-o", "json"]).collect();
    let sum = daemon.run(&load).await.json();
    let number = |field: &str| sum[field].as_u64().unwrap();
    assert_eq!((number("sent"), number("ok")), (400, 400), "{sum}");
    assert_eq!(number("accepted") + number("duplicates"), 400, "{sum}");
    // With probability 1/2 each: as good as impossible to miss.
    assert!((50..350).contains(&number("duplicates")), "{sum}");

    let acks = journal(&daemon);
    let duplicates = acks.iter().filter(|(_, _, code)| code == "duplicate").count();
    let ids: HashSet<_> = acks.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!((acks.len(), duplicates as u64), (400, number("duplicates")));
    assert_eq!(ids.len() as u64, number("accepted"));
    assert_eq!(db.number("SELECT count(*) FROM event").await, 3 + ids.len() as i64);
});

both_databases!(every_provider_can_be_sent_as_a_load, |db| async move {
    let mut plan = DaemonPlan::on(&db);
    for provider in PROVIDERS {
        plan = plan.source(&Signer::of(provider));
    }
    let daemon = plan.start().await;
    for provider in PROVIDERS {
        let load = ["send", provider, "--count", "20", "--concurrent", "4", "--summary"];
        let sum = daemon.run(&[&load[..], &["-o", "json"]].concat()).await.json();
        assert_eq!((&sum["sent"], &sum["ok"]), (&json!(20), &json!(20)), "{provider}: {sum}");
        // Slack's acks say nothing.
        let accepted = if provider == "slack" { 0 } else { 20 };
        assert_eq!(sum["accepted"], accepted, "{provider}: {sum}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 20 * PROVIDERS.len() as i64);
    let bad = ["send", "stripe", "--count", "5", "--bad-signature", "--summary", "-o", "json"];
    let said = daemon.run(&bad).await;
    let sum: serde_json::Value = serde_json::from_slice(&said.code(1).out).unwrap();
    assert_eq!((&sum["sent"], &sum["refused"]), (&json!(5), &json!({ "401": 5 })), "{sum}");
});

#[tokio::test]
async fn a_503_does_not_end_a_load_and_nobody_there_does() {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::status(503), Answer::ok(), Answer::status(429)]);
    let place = tempfile::tempdir().unwrap();
    let to = endpoint.url("/in/stripe");
    let signer = Signer::of("stripe");
    let secret = signer.secret();
    let load = ["send", "stripe", "--to", &to, "--secret", secret, "--count", "10"];
    let load = [&load[..], &["--summary", "--idle", "2", "-o", "jsonl"]].concat();
    let (code, out, err) = run_in(place.path(), &load).await;
    assert_eq!(code, 1, "{out}{err}");
    let sum: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&sum["sent"], &sum["ok"]), (&json!(10), &json!(8)), "{sum}");
    assert_eq!(sum["refused"], json!({ "429": 1, "503": 1 }));
    assert!(sum["refused_p99_ms"].is_number() && err.contains("2 were refused"), "{sum} {err}");
    assert_eq!(endpoint.count(), 10);

    drop(endpoint);
    let (code, out, err) = run_in(place.path(), &load).await;
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    let https = ["send", "stripe", "--to", "https://127.0.0.1:1/", "--secret", secret, "--summary"];
    let (code, _, err) = run_in(place.path(), &https).await;
    assert!(code == 2 && err.contains("plain http"), "{code} {err}");
    for (flags, words) in [
        (&["--duplicates", "0.5"][..], "--summary"),
        (&["--idle", "1"], "--summary"),
        (&["--concurrent", "2000"], "--summary"),
        (&["--summary", "--wait", "1s"], "--wait"),
        (&["--summary", "--duplicates", "1"], "0.99"),
        (&["--size", "10"], "too few"),
    ] {
        let (code, _, err) = run_in(place.path(), &[&load[..6], flags].concat()).await;
        assert!(code == 2 && err.contains(words), "{flags:?}: {code} {err}");
    }
}

both_databases!(an_interrupted_load_is_summed_up, |db| async move {
    let daemon = with_three_events(&db).await;
    let load = "send stripe --rate 50/s --duration 1h --journal acks --summary -o json";
    let load: Vec<_> = load.split(' ').collect();
    let mut command = daemon.command(&load);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let pid = child.id().unwrap();
    eventually(PATIENCE, "a line in the journal", || async {
        let text = std::fs::read_to_string(daemon.dir().join("acks")).ok()?;
        (!text.is_empty()).then_some(())
    })
    .await;
    signal("INT", &[pid]);
    let output = within(PATIENCE, "the load's end", child.wait_with_output()).await.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    let sum: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sum["sent"], sum["ok"], "{sum}");
    assert_eq!(sum["accepted"], journal(&daemon).len(), "{sum}");
    assert_eq!(sum["accepted"], db.number("SELECT count(*) FROM event").await - 3, "{sum}");
});

/// AWS-LC makes no signature with SHA-1: it is said before a key is made, and nothing is left behind.
#[tokio::test]
async fn what_nobody_can_sign_is_said_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let to = ["send", "travis-ci", "--to", "http://127.0.0.1:9/in/travis-ci"];
    let with_secret = [&to[..], &["--secret", "-----BEGIN PRIVATE KEY-----"]].concat();
    let with_file = [&to[..], &["--key", "travis.pem"]].concat();
    for arguments in [&to[..], &with_secret, &with_file] {
        let (code, out, err) = run_in(dir.path(), arguments).await;
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert_eq!(
            err,
            "error: source `travis-ci`: RSA with SHA-1 is only verified: nothing new is signed with it. \
             Let the provider send a request, and judge a captured one by `hookonce verify travis-ci`\n"
        );
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let (_, shown, _) = run_in(dir.path(), &["provider", "show", "travis-ci"]).await;
    assert!(shown.contains("`hookonce send` can't play Travis CI"), "{shown}");
}
