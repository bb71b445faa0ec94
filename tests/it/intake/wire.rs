//! What goes wrong below HTTP: slow, cut, oversized and contradictory requests.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{GITHUB, STRIPE, events, github, logged, stripe};
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest, read_answer};
use crate::support::{DaemonPlan, eventually, within};

const PATIENCE: Duration = Duration::from_secs(20);

/// Writes bytes, leaves the connection open, and reads what comes.
async fn write_and_wait(to: SocketAddr, bytes: &[u8]) -> Option<RawAnswer> {
    within(PATIENCE, "an answer or the end", async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_answer(&mut stream, &mut Vec::new()).await.unwrap_or(None)
    })
    .await
}

both_databases!(a_body_that_does_not_come_in_time_is_answered_408, |db| async move {
    let plan = logged(&db, &["github"]).server("body_timeout = \"300ms\"");
    let daemon = plan.start().await;
    let request = github().event("d-1", "push").to(GITHUB);
    let mut bytes = request.bytes();
    bytes.truncate(bytes.len() - 1);
    let answer = write_and_wait(daemon.public(), &bytes).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    assert_eq!(answer.head.header("connection"), Some("close"));
    assert_eq!(events(&db).await, 0);
});

// The framework takes all that follows a WebSocket's head for the body, whatever length it says: the
// answer would come when the sender hangs up.
both_databases!(a_websocket_is_refused_at_once_and_other_offers_are_passed_over, |db| async move {
    let daemon = logged(&db, &["github"]).server("body_timeout = \"5m\"").start().await;
    for upgrade in ["websocket", "WebSocket"] {
        let request = github().event("d-1", "push").to(GITHUB).header("upgrade", upgrade);
        let bytes = request.header("connection", "upgrade").bytes();
        let answer = write_and_wait(daemon.public(), &bytes).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (400, "body_malformed"));
    }
    assert_eq!(events(&db).await, 0);
    // Java's client offers HTTP/2 with its first request.
    let request = github().event("d-2", "push").to(GITHUB).header("upgrade", "h2c");
    let answer = write_and_wait(daemon.public(), &request.bytes()).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(events(&db).await, 1);
});

both_databases!(a_body_that_trickles_forever_is_cut_at_the_same_time, |db| async move {
    let plan = logged(&db, &["github"]).server("body_timeout = \"500ms\"");
    let daemon = plan.start().await;
    let request = github().event("d-1", "push").to(GITHUB);
    let mut stream = TcpStream::connect(daemon.public()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    writing.write_all(&request.head_bytes()).await.unwrap();
    let trickle = async {
        for byte in request.body.chunks(1).cycle() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if writing.write_all(byte).await.is_err() {
                break;
            }
        }
    };
    let answer = async {
        use tokio::io::AsyncReadExt;
        let mut text = Vec::new();
        while !text.ends_with(b"}") {
            if reading.read_buf(&mut text).await.unwrap_or(0) == 0 {
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let answer = within(PATIENCE, "an answer", async {
        tokio::select! { answer = answer => answer, () = trickle => String::from("closed without an answer") }
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
});

both_databases!(a_body_over_the_limit_is_answered_413_announced_or_not, |db| async move {
    let plan = DaemonPlan::on(&db).source_with(&stripe(), "max_body = \"1 KiB\"");
    let daemon = plan.start().await;
    let fits = stripe().sign("", "", padded("evt_pad", 1024));
    let fits = fits.to(STRIPE).send(daemon.public()).await;
    assert_eq!(fits.status, 200, "{fits:?}");

    let large = stripe().sign("", "", padded("evt_pad", 1025));
    let announced = large.to(STRIPE).send(daemon.public()).await;
    assert_eq!((announced.status, announced.code().as_str()), (413, "body_too_large"));

    // Refused by its announcement alone: not a byte of the body is sent.
    let huge = large.to(STRIPE).without("content-length").header("content-length", "10000000000");
    let answer = write_and_wait(daemon.public(), &huge.head_bytes()).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));

    let mut chunked =
        large.to(STRIPE).without("content-length").header("transfer-encoding", "chunked");
    chunked.body = chunks(&large.body, 100);
    let answer = chunked.send(daemon.public()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert_eq!(events(&db).await, 1);
});

/// A Stripe event of exactly this many bytes.
fn padded(id: &str, bytes: usize) -> Vec<u8> {
    let (begin, end) = (format!(r#"{{"id":"{id}","type":"x","pad":""#), r#""}"#);
    let pad = "p".repeat(bytes - begin.len() - end.len());
    format!("{begin}{pad}{end}").into_bytes()
}

/// The body in chunks, as HTTP/1.1 writes them.
fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

both_databases!(a_chunked_body_is_verified_and_stored_without_its_chunks, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let signed = github().event("d-1", "push");
    let mut request =
        signed.to(GITHUB).without("content-length").header("transfer-encoding", "chunked");
    request.body = chunks(&signed.body, 7);
    let answer = request.send(daemon.public()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(db.bytes("SELECT body FROM event_body").await, [signed.body]);
});

both_databases!(two_lengths_are_refused, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let signed = github().event("d-1", "push");
    let smuggled = signed.to(GITHUB).header("transfer-encoding", "chunked");
    let twice = signed.to(GITHUB).header("content-length", "3");
    let signs = signed.to(GITHUB).without("content-length").header("content-length", "+5");
    for (claim, request) in
        [("length and chunks", smuggled), ("two lengths", twice), ("a signed length", signs)]
    {
        let mut bytes = request.head_bytes();
        bytes.extend(chunks(&signed.body, 1000));
        // Refused with an answer or by closing; never taken.
        if let Some(answer) = write_and_wait(daemon.public(), &bytes).await {
            assert_eq!(answer.status, 400, "{claim}: {answer:?}");
        }
    }
    assert_eq!(events(&db).await, 0);
});

both_databases!(a_header_block_over_64_kib_is_answered_431, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let request = github().event("d-1", "push").to(GITHUB);
    let small = request.clone().header("x-big", "b".repeat(32 * 1024)).send(daemon.public()).await;
    assert_eq!(small.status, 200, "{small:?}");
    let large = request.header("x-big", "b".repeat(70 * 1024)).send(daemon.public()).await;
    assert_eq!(large.status, 431, "{large:?}");
});

both_databases!(a_sender_that_hangs_up_in_the_body_leaves_nothing, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let bytes = github().event("d-1", "push").to(GITHUB).bytes();
    for cut in [1, 2, 40] {
        let mut stream = TcpStream::connect(daemon.public()).await.unwrap();
        stream.write_all(&bytes[..bytes.len() - cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        // The other side has seen the end when it answers or closes.
        let answer = within(PATIENCE, "the end", read_answer(&mut stream, &mut Vec::new())).await;
        assert!(!matches!(&answer, Ok(Some(answer)) if answer.status == 200), "{answer:?}");
    }
    assert_eq!(events(&db).await, 0);
    daemon.sender().send(GITHUB, &github().event("d-1", "push")).await.assert_accepted();
});

both_databases!(a_sender_that_hangs_up_after_the_body_changes_nothing, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    for n in 0..20 {
        let mut stream = TcpStream::connect(daemon.public()).await.unwrap();
        let request = github().event(&format!("d-{n}"), "push").to(GITHUB);
        stream.write_all(&request.bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // Some close politely, some tear the connection down.
        if n % 2 == 0 {
            stream.shutdown().await.unwrap();
        }
        drop(stream);
    }
    // Each may be stored or not; sent again, each is the same event, once.
    let sender = daemon.sender();
    for n in 0..20 {
        let again = sender.send(GITHUB, &github().event(&format!("d-{n}"), "push")).await;
        assert_eq!(again.status, 200, "{again:?}");
    }
    assert_eq!(events(&db).await, 20);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 20);
});

both_databases!(several_requests_in_one_write_are_each_answered, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    let mut bytes = Vec::new();
    for n in 0..5 {
        bytes.extend(github().event(&format!("d-{n}"), "push").to(GITHUB).bytes());
    }
    let mut stream = TcpStream::connect(daemon.public()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut buffer = Vec::new();
    for n in 0..5 {
        let answer = within(PATIENCE, "an answer", read_answer(&mut stream, &mut buffer)).await;
        assert_eq!(answer.unwrap().expect("an answer").status, 200, "{n}");
    }
    assert_eq!(events(&db).await, 5);
});

both_databases!(
    a_request_cut_at_any_byte_or_garbled_never_gets_an_answer_that_drops_the_event,
    |db| async move {
        let daemon = logged(&db, &["stripe"]).start().await;
        let request = stripe().event("evt_1", "x").to(STRIPE);
        let bytes = request.bytes();
        let head = request.head_bytes().len();
        let line = request.line.len();
        // The request line is left alone: with another path it is another source.
        for at in (line..bytes.len()).step_by(3) {
            for garbled in [cut(&bytes, at), flipped(&bytes, at)] {
                let Some(answer) = write_and_close(daemon.public(), &garbled).await else {
                    continue;
                };
                let never = [404, 410, 429, 500, 501];
                assert!(
                    !never.contains(&answer.status) && !(300..400).contains(&answer.status),
                    "byte {at} (head {head}): {answer:?}"
                );
            }
        }
        let up = RawRequest::new("GET", "/livez").send(daemon.public()).await;
        assert_eq!(up.status, 200);
        let panics = "hookonce_invariant_violations_total";
        let metrics = String::from_utf8(daemon.get("/metrics").await.body).unwrap();
        let counted = metrics.lines().find(|line| line.starts_with(panics)).unwrap_or("none 0");
        assert!(counted.ends_with(" 0"), "{counted}");
    }
);

fn cut(bytes: &[u8], at: usize) -> Vec<u8> {
    bytes[..at].to_vec()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 4;
    out
}

async fn write_and_close(to: SocketAddr, bytes: &[u8]) -> Option<RawAnswer> {
    within(PATIENCE, "an answer or the end", async {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(bytes).await.ok()?;
        stream.shutdown().await.ok()?;
        read_answer(&mut stream, &mut Vec::new()).await.ok()?
    })
    .await
}

both_databases!(bodies_beyond_the_budget_wait_outside, |db| async move {
    let plan = DaemonPlan::on(&db)
        .source_with(&stripe(), "max_body = \"64 KiB\"")
        .server("max_inflight = \"64 KiB\"\nbody_timeout = \"60s\"");
    let daemon = plan.start().await;
    // One sender holds the budget: its body is announced and sent but for the last byte.
    let bytes = stripe().sign("", "", padded("evt_hog", 60 * 1024)).to(STRIPE).bytes();
    let mut stream = TcpStream::connect(daemon.public()).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    let held = "hookonce_inflight_bytes ";
    eventually(PATIENCE, "the budget to be held", || async {
        let metrics = String::from_utf8(daemon.get("/metrics").await.body).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(held))?;
        (line.parse::<f64>().unwrap() >= (60 * 1024 - 1) as f64).then_some(())
    })
    .await;
    let sender = daemon.sender();
    let second = stripe().sign("", "", padded("evt_2", 32 * 1024));
    let answer = sender.send(STRIPE, &second).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
    assert!(answer.answer.head.header("retry-after").is_some());
    // A small one still fits.
    sender.send(STRIPE, &stripe().event("evt_3", "x")).await.assert_accepted();
    // It finishes, and then there is room again.
    stream.write_all(&bytes[bytes.len() - 1..]).await.unwrap();
    let answer = read_answer(&mut stream, &mut Vec::new()).await.unwrap().expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually(PATIENCE, "room", || async {
        (sender.send(STRIPE, &second).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(events(&db).await, 3);
});
