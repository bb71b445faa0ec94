//! `transform`, and a `when` that loops, in a process of its own, by the library: the same as on a thread, and nothing
//! that it does to its process is done to ours.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use hookonce::event::Event;
use hookonce::handler::shape::{Isolation, Shape, ShapeSettings, Shaped};
use hookonce::received::Headers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdout, Command};
use uuid::Uuid;

use crate::support::daemon::PROGRAM;
use crate::support::eventually;
use crate::support::leash::{children, signal};

/// Attempts at what may be late on a busy machine; what is final is so at the first that isn't.
const TRIES: usize = 30;

/// The cause when a filter ended its process.
pub const ENDED: &str =
    "`transform` ended its process on this event: it recursed too deep or took too much memory";

/// Filters that no thread survives, each by few steps: how fast the machine is must not matter.
pub const HOSTILE: [(&str, &str); 4] = [
    ("recursion", "def f: 1 + f; f"),
    ("memory", r#""x" * 10000000000 | length"#),
    ("doubling", r#"reduce range(60) as $i ("x"; . + .) | length"#),
    ("nesting", "reduce range(100000) as $i (0; [.]) | 1"),
];

pub fn event(body: impl Into<Bytes>) -> Event {
    let mut headers = Headers::new();
    headers.push("content-type", "application/json; charset=utf-8");
    headers.push("x-twice", "1");
    headers.push("x-twice", b"\xff2");
    Event {
        id: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        source: entity::Name::new("stripe").unwrap(),
        event_id: "evt_1".to_owned(),
        kind: "invoice.paid".to_owned(),
        received_at: DateTime::from_timestamp(1_764_000_000, 123_456_789).unwrap(),
        headers,
        body: body.into(),
    }
}

/// The same filter on threads and in processes.
pub fn both(transform: &str) -> [Shape; 2] {
    both_of(&ShapeSettings { when: None, transform: Some(transform.to_owned()) })
}

fn both_of(settings: &ShapeSettings) -> [Shape; 2] {
    let on_threads = Shape::new(settings).unwrap().unwrap();
    let isolation = Isolation::by(PROGRAM).in_time_zone(std::env::var_os("TZ"));
    let apart = on_threads.isolated(&isolation);
    [on_threads, apart]
}

/// Again while it is late, as a delivery would be.
async fn settled(shape: &Shape, event: &Event) -> Shaped {
    let mut shaped = shape.apply(event).await;
    for _ in 1..TRIES {
        if !matches!(shaped, Shaped::Slow(_)) {
            break;
        }
        shaped = shape.apply(event).await;
    }
    shaped
}

fn body(shaped: &Shaped) -> &[u8] {
    match shaped {
        Shaped::Changed(event) => &event.body,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_process_gives_what_a_thread_gives_byte_for_byte() {
    let json = r#"{"amount": 1250, "text": "s3cret", "items": [{"n": 2}, {"n": 1}], "é": "\u0000",
        "big": 123456789012345678901234567890.10, "exp": 1E400}"#;
    for filter in [
        ".",
        "{amount, n: .items[0].n}",
        ".big, .big | tojson",
        ".exp",
        ".[\"é\"]",
        "$event",
        "$headers",
        "$event.received_at + $headers[\"x-twice\"]",
        "now | type",
        "0 | todate",
        "0 | strflocaltime(\"%H:%M %Z\")",
        "empty",
        ".items[]",
        "nan",
        ".text.x",
        ".text | error",
        "{a: .text} | error",
        ".text + 1",
        ".text | fromjson",
        "[range(200000)] | length",
        "[range(200000)]",
        "\"x\" * 1048574",
        "\"x\" * 1048575",
    ] {
        let [thread, process] = both(filter);
        for text in [json, "{\"amount\":", "NaN", "", "3", "[1,2]"] {
            let event = event(text.to_owned());
            let want = settled(&thread, &event).await;
            let got = settled(&process, &event).await;
            assert_eq!(format!("{got:?}"), format!("{want:?}"), "{filter} of {text:?}");
        }
    }
}

#[tokio::test]
async fn a_condition_says_in_a_process_what_it_says_on_a_thread() {
    for when in [
        "body.items.exists(i, i.n > 1)",
        "body.items.all(i, i.n > 1)",
        "body.items.map(i, i.n) == [2, 1] && event.source == 'stripe'",
        "headers.exists(h, h == 'x-twice')",
        "body.items.map(i, i.gone) == []",
        "body.amount > 1000",
    ] {
        for transform in [None, Some("{amount}"), Some(".text.x")] {
            let (when, transform) = (Some(when.to_owned()), transform.map(str::to_owned));
            let settings = ShapeSettings { when, transform };
            let [thread, process] = both_of(&settings);
            let json = r#"{"amount": 1250, "text": "s3cret", "items": [{"n": 2}, {"n": 1}]}"#;
            let large = format!("{}, \"pad\": \"{}\"}}", &json[..json.len() - 1], pad());
            for text in [json, &large, r#"{"items": [], "amount": 1}"#, "{}", "[", ""] {
                let text = text.to_owned();
                let said: String = text.chars().take(90).collect();
                let event = event(text);
                let want = settled(&thread, &event).await;
                let got = settled(&process, &event).await;
                assert!(
                    format!("{got:?}") == format!("{want:?}"),
                    "{settings:?} of {said:?}: {got:?}"
                );
            }
        }
    }
}

/// More than a `when` may read in the daemon.
fn pad() -> String {
    "y".repeat(256 * 1024)
}

#[tokio::test]
async fn only_a_condition_that_reads_a_large_body_needs_a_process_for_it() {
    let settings = |when: &str| ShapeSettings { when: Some(when.to_owned()), transform: None };
    for (when, zone, apart) in [
        ("event.type == 'invoice.paid'", "UTC0headers", false),
        ("body.amount > 1", "UTC0body", true),
    ] {
        let isolation = Isolation::by(PROGRAM).in_time_zone(Some(zone.into()));
        let shape = Shape::new(&settings(when)).unwrap().unwrap().isolated(&isolation);
        let small = settled(&shape, &event("{\"amount\": 2}")).await;
        assert!(matches!(small, Shaped::Whole), "{when}: {small:?}");
        assert_eq!(of_zone(zone), [0; 0], "{when}");
        let large = event(format!("{{\"amount\": 2, \"pad\": \"{}\"}}", pad()));
        let large = settled(&shape, &large).await;
        assert!(matches!(large, Shaped::Whole), "{when}: {large:?}");
        assert_eq!(!of_zone(zone).is_empty(), apart, "{when}");
    }
}

/// On threads the fifth event would wait for the first four, which have years to go.
#[tokio::test]
async fn a_condition_that_takes_the_product_of_its_lists_keeps_no_place() {
    let pairs = "body.l.map(a, body.l.map(b, body.l.map(c, body.l.map(d, [a, b, c, d]))))";
    let when = Some(format!("size(body.l) < 3 || size({pairs}) > 0"));
    let [_, shape] = both_of(&ShapeSettings { when, transform: None });
    let poison = event(format!("{{\"l\": [1{}]}}", ", 1".repeat(4_999)));
    for shaped in futures::future::join_all((0..6).map(|_| shape.apply(&poison))).await {
        let cause = match shaped {
            Shaped::Slow(failure) | Shaped::Failed(failure) => failure.cause,
            // Two of the six wait for a place, which a machine may be too busy to give in time.
            Shaped::Crowded(failure) if failure.cause.contains("busy with other events") => {
                continue;
            }
            other => panic!("{other:?}"),
        };
        let late = "`when` and `transform` took longer than 2s";
        assert!(cause == late || cause == ENDED.replace("transform", "when"), "{cause}");
    }
    assert!(matches!(settled(&shape, &event("{\"l\": []}")).await, Shaped::Whole));
}

#[tokio::test]
async fn a_large_event_goes_through_and_comes_back() {
    let [thread, process] = both("{size: (.text | length), same: .text}");
    for size in [0, 1, 65_535, 65_536, 1_000_000] {
        let event = event(format!("{{\"text\": \"{}\"}}", "y".repeat(size)));
        let (want, got) = (settled(&thread, &event).await, settled(&process, &event).await);
        assert!(body(&got) == body(&want), "{size}");
    }
    let [_, length] = both(".text | length");
    let large = event(format!("{{\"text\": \"{}\"}}", "y".repeat(8 << 20)));
    assert_eq!(body(&settled(&length, &large).await), b"8388608");
}

#[tokio::test]
async fn what_no_thread_survives_fails_alone_and_the_next_event_is_made() {
    for (name, filter) in HOSTILE {
        let [_, shape] = both(&format!("if .poison then ({filter}) else .id end"));
        // Cold first, then by a process that has served before.
        for round in 0..2 {
            let Shaped::Failed(failure) = settled(&shape, &event("{\"poison\": true}")).await
            else {
                panic!("{name} did not fail in round {round}");
            };
            assert_eq!(failure.cause, ENDED, "{name}");
            let next = settled(&shape, &event(format!("{{\"id\": {round}}}"))).await;
            assert_eq!(body(&next), round.to_string().as_bytes(), "{name}");
        }
    }
}

#[tokio::test]
async fn what_never_ends_gives_its_place_back() {
    let [_, shape] = both("def f: f; if .poison then f else .id end");
    // More than there are places, all at once and one round after the other.
    for _ in 0..2 {
        let poison = event("{\"poison\": true}");
        let late = futures::future::join_all((0..4).map(|_| shape.apply(&poison))).await;
        for shaped in late {
            let Shaped::Slow(failure) = shaped else { panic!("{shaped:?}") };
            assert_eq!(failure.cause, "`when` and `transform` took longer than 2s");
        }
    }
    assert_eq!(body(&settled(&shape, &event("{\"id\": 7}")).await), b"7");
}

#[tokio::test]
async fn who_gives_up_leaves_no_answer_behind_for_the_next() {
    let [_, shape] = both("if .slow then (last(range(3000000)) | \"slow\") else \"quick\" end");
    let quick = event("{}");
    assert_eq!(body(&settled(&shape, &quick).await), b"\"quick\"");
    for wait in [0, 1, 20] {
        let slow = event("{\"slow\": true}");
        let asked = tokio::time::timeout(Duration::from_millis(wait), shape.apply(&slow));
        assert!(asked.await.is_err(), "it was given up");
        assert_eq!(body(&settled(&shape, &quick).await), b"\"quick\"");
    }
}

#[tokio::test]
async fn a_program_that_is_none_of_ours_is_an_error_that_comes_again() {
    let settings = ShapeSettings { when: None, transform: Some(".".to_owned()) };
    let shape = Shape::new(&settings).unwrap().unwrap();
    for program in ["/nowhere/hookonce", "/bin/true", "/bin/echo"] {
        let shaped = shape.isolated(&Isolation::by(program)).apply(&event("{}")).await;
        let Shaped::Slow(failure) = shaped else { panic!("{program}: {shaped:?}") };
        let want = "`transform` could not be run in a process of its own: ";
        assert!(failure.cause.starts_with(want), "{program}: {failure:?}");
    }
}

/// How long a process may take to do what it does at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes with their length before them, as the pipe has them.
fn framed(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], content].concat()
}

async fn answer(from: &mut ChildStdout) -> Vec<u8> {
    let read = async {
        let mut length = [0; 4];
        from.read_exact(&mut length).await.unwrap();
        let mut content = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        from.read_exact(&mut content).await.unwrap();
        content
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer")
}

/// What it can't read it says, and the event after it is judged; when nobody reads its answers it ends, whoever
/// still holds the other pipe.
#[tokio::test]
async fn a_process_says_what_it_can_not_read_and_ends_when_nobody_listens() {
    let mut command = Command::new(PROGRAM);
    command.arg("shape-worker").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut worker = command.spawn().unwrap();
    let mut requests = worker.stdin.take().unwrap();
    let mut answers = worker.stdout.take().unwrap();
    requests.write_all(&framed(&[framed(b""), framed(b".")].concat())).await.unwrap();
    assert_eq!(answer(&mut answers).await[0], 0, "its version");
    for _ in 0..2 {
        requests.write_all(&framed(b"no event")).await.unwrap();
        let said = answer(&mut answers).await;
        assert_eq!(said[0], 1, "a failure");
        let said = String::from_utf8_lossy(&said[1..]).into_owned();
        assert!(said.contains("the event did not reach its process whole"), "{said}");
    }
    drop(answers);
    requests.write_all(&framed(b"no event")).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, worker.wait()).await.expect("its end").unwrap();
    assert_eq!(ended.code(), Some(1));
    drop(requests);
}

/// The processes that were started in this time zone, which is how a test knows its own.
fn of_zone(zone: &str) -> Vec<u32> {
    let is_ours = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|it| {
            it.split(|byte| *byte == 0).any(|it| it == format!("TZ={zone}").as_bytes())
        })
    };
    let mut found: Vec<u32> = children(std::process::id()).into_iter().filter(is_ours).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn an_idle_process_that_ended_is_collected_wherever_it_stood() {
    let settings = ShapeSettings { when: None, transform: Some(".id".to_owned()) };
    let isolation = Isolation::by(PROGRAM).in_time_zone(Some("UTC0collected".into()));
    let shape = Shape::new(&settings).unwrap().unwrap().isolated(&isolation);
    let event = event("{\"id\": 7}");
    let pids = eventually(PATIENCE, "four processes", || async {
        futures::future::join_all((0..4).map(|_| shape.apply(&event))).await;
        Some(of_zone("UTC0collected")).filter(|pids| pids.len() == 4)
    })
    .await;
    // One after the other: at most one of them can be the one that the next event would have found anyway.
    for pid in &pids[..3] {
        signal("KILL", &[*pid]);
        // A process of several threads may look dead a moment before it can be collected.
        eventually(PATIENCE, "it to be collected", || async {
            assert_eq!(body(&settled(&shape, &event).await), b"7");
            (!children(std::process::id()).contains(pid)).then_some(())
        })
        .await;
    }
}

/// A process that leaves on its own was not ended by the event, whatever it is.
#[tokio::test]
async fn a_process_that_leaves_with_a_code_makes_no_event_dead() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("leaves");
    let hello = framed(&[&[0], env!("CARGO_PKG_VERSION").as_bytes()].concat());
    let hello: String = hello.iter().map(|byte| format!("\\{byte:03o}")).collect();
    // It takes the expressions, then the first byte of an event.
    let script = format!(
        "#!/bin/sh\nhead -c 13 >/dev/null\nprintf '{hello}'\nhead -c 1 >/dev/null\nexit 3\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = ShapeSettings { when: None, transform: Some(".".to_owned()) };
    let shape = Shape::new(&settings).unwrap().unwrap().isolated(&Isolation::by(&program));
    let want = "`transform` could not be run in a process of its own: it ended with exit status: 3";
    eventually(PATIENCE, "it to have left", || async {
        let Shaped::Slow(failure) = shape.apply(&event("{}")).await else { panic!("it is final") };
        // Whatever else forks in this moment may hold the file open.
        (failure.cause == want).then_some(())
    })
    .await;
}
