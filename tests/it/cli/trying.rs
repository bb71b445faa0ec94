//! `hookonce handler`: what would be sent, by the admin API and by the database alike.

use serde_json::{Value, json};

use super::{PATIENCE, STRIPE, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Endpoint};

both_databases!(handlers_are_listed_shown_and_tried_without_a_call, |db| async move {
    let endpoint = Endpoint::start().await;
    let lines = r#"when = 'body.type == "invoice.paid"'
transform = '{paid: .data.object.amount_paid}'
events = "invoice.*""#;
    let mut daemon = DaemonPlan::on(&db)
        .source(&stripe())
        .calls("billing", "stripe", &endpoint.url("/hook?key=s3cret"), lines)
        .toml("[handlers.broken]\nfrom = \"stripe\"\nwhen = 'body.gone == 1'\nlog = {}\n")
        .start()
        .await;
    for (id, kind) in [("evt_1", "invoice.paid"), ("evt_2", "invoice.voided"), ("evt_3", "x")] {
        daemon.sender().send(STRIPE, &stripe().event(id, kind)).await.assert_accepted();
    }
    wait_until_settled(&db, PATIENCE).await;
    let calls = endpoint.count();
    let url = daemon.admin_url();
    let mut answers = Vec::new();
    for remote in [true, false] {
        if !remote {
            assert!(daemon.stop().await.success());
        }
        let ask = |words: &[&str]| {
            let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            words.extend(["-o".to_owned(), "json".to_owned()]);
            if remote {
                words.extend(["--url".to_owned(), url.clone()]);
            }
            words
        };
        let run = async |words: &[&str], code: i32| -> Value {
            let words = ask(words);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let said = daemon.run(&words).await;
            said.code(code);
            serde_json::from_slice(&said.out).unwrap_or(Value::Null)
        };
        let list = run(&["handler", "list"], 0).await;
        let names: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["billing", "broken"]);
        let shown = run(&["handler", "show", "billing"], 0).await;
        assert_eq!(shown["settings"]["when"], json!("body.type == \"invoice.paid\""));
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
        let mut taken = run(&["handler", "test", "billing", "--event", "evt_1"], 0).await;
        // Of the moment, so not the same by both ways.
        let headers = taken["headers"].as_array_mut().unwrap();
        let before = headers.len();
        headers.retain(|header| header[0] != "webhook-timestamp");
        assert_eq!(headers.len(), before - 1, "{headers:?}");
        assert_eq!((&taken["matches"], &taken["when"]), (&json!(true), &json!(true)), "{taken}");
        assert_eq!(taken["body"], json!("{\"paid\":4200}"));
        assert_eq!((&taken["method"], &taken["error"]), (&json!("POST"), &Value::Null));
        assert!(!taken.to_string().contains("s3cret"), "{taken}");
        let skipped = run(&["handler", "test", "billing", "--event", "evt_2"], 0).await;
        assert_eq!((&skipped["when"], &skipped["size"]), (&json!(false), &Value::Null));
        let other = run(&["handler", "test", "billing", "--event", "evt_3"], 0).await;
        assert_eq!(other["matches"], json!(false), "{other}");
        let broken = run(&["handler", "test", "broken", "--event", "evt_1"], 1).await;
        assert!(broken["error"].as_str().unwrap().contains("gone"), "{broken}");
        run(&["handler", "test", "nobody", "--event", "evt_1"], 4).await;
        run(&["handler", "test", "billing", "--event", "evt_9"], 4).await;
        run(&["handler", "show", "nobody"], 4).await;
        answers.push([list, shown, taken, skipped, other, broken]);
    }
    assert_eq!(answers[0], answers[1], "both ways say the same");
    assert_eq!(endpoint.count(), calls, "nothing was sent");
});
