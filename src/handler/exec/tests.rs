use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::handler::{RESPONSE_BYTES_MAX, sample};

fn settings(command: &[&str]) -> ExecSettings {
    ExecSettings { command: command.iter().map(ToString::to_string).collect(), env: Vec::new() }
}

fn shell(script: &str) -> ExecHandler {
    ExecHandler::new(&settings(&["sh", "-c", script]), &Variables::new()).expect("a handler")
}

async fn outcome_of(script: &str) -> Outcome {
    shell(script).handle(&sample::event(b"the body"), &sample::context()).await
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.to_vec()).expect("UTF-8")
}

/// Waits for a condition, at most ten seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie has ended; only its parent hasn't looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

fn read_pid(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.ends_with('\n').then(|| text.trim().to_owned())
}

#[tokio::test]
async fn the_exit_code_is_the_judgement_and_both_outputs_are_kept_in_order() {
    let Outcome::Delivered(reply) = outcome_of("cat; echo ' err' >&2; echo out").await else {
        panic!("not delivered")
    };
    assert_eq!((reply.status, text(&reply)), (Some(0), "the body err\nout\n".to_owned()));

    let Outcome::Reject { cause, reply } = outcome_of("echo no; exit 65").await else {
        panic!("not rejected")
    };
    assert!(cause.contains("exited with 65"), "{cause}");
    assert_eq!((reply.status, text(&reply)), (Some(65), "no\n".to_owned()));

    for code in [1, 75, 255] {
        let Outcome::Retry { cause, after, reply } = outcome_of(&format!("exit {code}")).await
        else {
            panic!("{code}: not to be retried")
        };
        assert!(cause.ends_with(&format!("exited with {code}")), "{cause}");
        assert_eq!((after, reply.status), (None, Some(code)));
    }

    let Outcome::Retry { cause, reply, .. } = outcome_of("kill -TERM $$").await else {
        panic!("not to be retried")
    };
    assert!(cause.contains("signal 15 (SIGTERM)"), "{cause}");
    assert_eq!(reply.status, None);
}

#[tokio::test]
async fn the_environment_holds_the_facts_the_named_variables_and_nothing_else() {
    let environment: Variables = BTreeMap::from([
        ("WANTED".to_owned(), "yes".into()),
        ("UNWANTED".to_owned(), "leak".into()),
    ]);
    let mut settings = settings(&["/usr/bin/env"]);
    settings.env = vec!["WANTED".to_owned(), "NOT_SET".to_owned()];
    let handler = ExecHandler::new(&settings, &environment).expect("a handler");
    let mut event = sample::event(b"");
    event.event_id = "evt\0_1 $(id)".to_owned();
    let Outcome::Delivered(reply) = handler.handle(&event, &sample::context()).await else {
        panic!("not delivered")
    };
    let mut names: Vec<String> =
        text(&reply).lines().map(|line| line.split('=').next().unwrap_or("").to_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "HOOKONCE_ATTEMPT",
            "HOOKONCE_CONTENT_TYPE",
            "HOOKONCE_DELIVERY",
            "HOOKONCE_EPOCH",
            "HOOKONCE_EVENT",
            "HOOKONCE_EVENT_ID",
            "HOOKONCE_EVENT_TYPE",
            "HOOKONCE_HANDLER",
            "HOOKONCE_RECEIVED_AT",
            "HOOKONCE_SOURCE",
            "PATH",
            "WANTED",
        ]
    );
    let lines = text(&reply);
    for line in [
        "HOOKONCE_EVENT_ID=evt_1 $(id)",
        "HOOKONCE_EVENT_TYPE=invoice.paid",
        "HOOKONCE_CONTENT_TYPE=application/json; charset=utf-8",
        "HOOKONCE_RECEIVED_AT=2025-11-24T16:00:00.000Z",
        "WANTED=yes",
    ] {
        assert!(lines.lines().any(|have| have == line), "{line} is not in {lines}");
    }
}

#[tokio::test]
async fn arguments_are_passed_as_they_are_and_no_shell_sees_them() {
    let spec = settings(&["printf", "%s|", "a b", "$(id)", "*", "; exit 3"]);
    let handler = ExecHandler::new(&spec, &Variables::new()).expect("a handler");
    let Outcome::Delivered(reply) = handler.handle(&sample::event(b""), &sample::context()).await
    else {
        panic!("not delivered")
    };
    assert_eq!(text(&reply), "a b|$(id)|*|; exit 3|");
}

#[tokio::test]
async fn a_big_body_may_be_read_whole_or_not_at_all() {
    static MEGABYTE: [u8; 1024 * 1024] = [b'x'; 1024 * 1024];
    let event = sample::event(&MEGABYTE);
    let outcome = shell("exec 0<&-; exit 0").handle(&event, &sample::context()).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    let outcome = shell("exit 0").handle(&event, &sample::context()).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    let Outcome::Delivered(reply) = shell("wc -c").handle(&event, &sample::context()).await else {
        panic!("not delivered")
    };
    assert_eq!(text(&reply).trim(), "1048576");
}

#[tokio::test]
async fn output_beyond_the_cap_is_read_and_forgotten() {
    let Outcome::Delivered(reply) = outcome_of("head -c 1000000 /dev/zero; echo end >&2").await
    else {
        panic!("not delivered")
    };
    assert_eq!(reply.body.len(), RESPONSE_BYTES_MAX);
}

#[tokio::test]
async fn dropping_the_call_kills_the_program_and_what_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let (parent, grandchild) = (folder.path().join("parent"), folder.path().join("grandchild"));
    let handler = shell(&format!(
        "sleep 600 & echo $! > {}; echo $$ > {}; wait",
        grandchild.display(),
        parent.display()
    ));
    let (event, context) = (sample::event(b""), sample::context());
    {
        let call = handler.handle(&event, &context);
        tokio::pin!(call);
        tokio::select! {
            outcome = &mut call => panic!("it ended: {outcome:?}"),
            () = until("both run", || read_pid(&parent).is_some() && read_pid(&grandchild).is_some()) => {}
        }
    }
    for file in [&parent, &grandchild] {
        let pid = read_pid(file).expect("a pid");
        until("it is killed", || !is_alive(&pid)).await;
    }
}

#[tokio::test]
async fn what_a_program_leaves_in_its_group_is_killed_when_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("straggler");
    let started = Instant::now();
    let outcome = outcome_of(&format!("sleep 600 & echo $! > {}; exit 0", file.display())).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(300), "it waited for the straggler");
    let pid = read_pid(&file).expect("a pid");
    until("it is killed", || !is_alive(&pid)).await;
}

#[tokio::test]
async fn a_process_that_left_the_group_and_holds_the_pipe_does_not_make_us_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("daemon");
    let script = format!(
        "echo first; setsid sh -c 'echo $$ > {0}; exec sleep 600' & while ! test -s {0}; do :; done; exit 0",
        file.display()
    );
    let started = Instant::now();
    let Outcome::Delivered(reply) = outcome_of(&script).await else { panic!("not delivered") };
    assert!(started.elapsed() < Duration::from_secs(300), "it waited for the daemon");
    assert_eq!(text(&reply), "first\n");
    // It escaped by design; the test cleans up after itself.
    let pid = read_pid(&file).expect("a pid");
    let killed = std::process::Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
    assert!(killed.success());
}

#[tokio::test]
async fn a_call_that_nobody_watches_is_cut_off_after_its_deadline() {
    let mut context = sample::context();
    context.timeout = Duration::from_millis(10);
    let outcome = shell("sleep 600").handle(&sample::event(b""), &context).await;
    let Outcome::Retry { cause, .. } = outcome else { panic!("{outcome:?}") };
    assert!(cause.contains("did not end within 10ms"), "{cause}");
}

#[test]
fn faults_of_the_settings_are_sentences() {
    let fault =
        |spec: &ExecSettings| ExecHandler::new(spec, &Variables::new()).expect_err("a fault");
    assert!(fault(&settings(&[])).contains("is empty"));
    assert!(fault(&settings(&["no-such-program-here"])).contains("is not in"));
    assert!(fault(&settings(&["sh", "a\0b"])).contains("NUL"));
    for (name, reason) in [
        ("", "not the name"),
        ("A=B", "not the name"),
        ("PATH", "sets it itself"),
        ("HOOKONCE_EVENT", "sets it itself"),
    ] {
        let mut spec = settings(&["sh"]);
        spec.env = vec![name.to_owned()];
        assert!(fault(&spec).contains(reason), "{name}");
    }
}
