//! Stored bytes are the sent bytes.

use super::{GITHUB, STRIPE, events, github, logged, stripe};
use crate::both_databases;
use crate::support::{Daemon, Signer, TestDatabase};

/// What the table and the admin API keep as the one event's body.
async fn assert_stored(db: &TestDatabase, daemon: &Daemon, event: &str, body: &[u8], claim: &str) {
    let hex = event.replace('-', "");
    let query = match db.kind() {
        crate::support::Kind::Postgres => {
            format!("SELECT body FROM event_body WHERE event_id = '{event}'")
        }
        crate::support::Kind::Sqlite => {
            format!("SELECT body FROM event_body WHERE event_id = x'{hex}'")
        }
    };
    let rows = db.bytes(&query).await;
    assert_eq!(rows.len(), 1, "{claim}");
    assert!(rows[0] == body, "{claim}: {} bytes stored, {} sent", rows[0].len(), body.len());
    let answer = daemon.get(&format!("/api/v1/events/{event}/body")).await;
    assert_eq!(answer.status, 200, "{claim}");
    assert!(answer.body == body, "{claim}: the API gives other bytes");
    let disposition = answer.head.header("content-disposition").unwrap_or_default();
    assert!(disposition.starts_with("attachment"), "{claim}: {disposition}");
}

both_databases!(any_bytes_are_stored_as_they_were_sent, |db| async move {
    let daemon = logged(&db, &["stripe", "github"]).start().await;
    let sender = daemon.sender();
    let every_byte: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
    let big: Vec<u8> =
        (0..1024 * 1024u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let raw: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("a NUL", vec![0]),
        ("every byte", every_byte),
        ("one MiB", big),
        ("not UTF-8", b"\xff\xfe\x00{".to_vec()),
        ("white space around", b" \r\n{\"a\": 1}\r\n ".to_vec()),
    ];
    for (n, (claim, body)) in raw.iter().enumerate() {
        let signed = github().sign(&format!("d-{n}"), "push", body.clone());
        let sent = sender.send(GITHUB, &signed).await;
        sent.assert_accepted();
        assert_stored(&db, &daemon, &sent.event(), body, claim).await;
    }
    let json: [(&str, &str); 5] = [
        ("an escaped NUL", r#"{"id":"evt_n","type":"x","note":"a\u0000b"}"#),
        ("a lone surrogate", r#"{"id":"evt_s","type":"x","note":"\ud800"}"#),
        ("a long number", r#"{"id":"evt_l","type":"x","n":123456789012345678901234567890.10}"#),
        ("a repeated key elsewhere", r#"{"id":"evt_r","type":"x","a":1,"a":2}"#),
        ("odd spacing", "{ \"type\" :\t\"x\",\n \"id\":\"evt_o\" }\n"),
    ];
    for (claim, body) in json {
        let sent = sender.send(STRIPE, &stripe().sign("", "", body)).await;
        sent.assert_accepted();
        assert_stored(&db, &daemon, &sent.event(), body.as_bytes(), claim).await;
    }
    assert_eq!(events(&db).await, 11);
});

both_databases!(
    headers_are_stored_with_their_repetitions_and_bytes_that_are_not_utf8,
    |db| async move {
        let daemon = logged(&db, &["github"]).start().await;
        let request = github()
            .sign("d-1", "push", "{}")
            .to(GITHUB)
            .header("X-Odd", b"caf\xe9 \xff")
            .header("x-twice", "one")
            .header("X-TWICE", "two");
        let answer = request.send(daemon.public()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let headers = db.bytes("SELECT headers FROM event_body").await.remove(0);
        let lines: Vec<&[u8]> = headers.split(|b| *b == b'\n').collect();
        for wanted in [&b"x-odd: caf\xe9 \xff\r"[..], b"x-twice: one\r", b"x-twice: two\r"] {
            assert!(lines.contains(&wanted), "{}", String::from_utf8_lossy(&headers));
        }
        let one = lines.iter().position(|line| *line == b"x-twice: one\r");
        let two = lines.iter().position(|line| *line == b"x-twice: two\r");
        assert!(one < two, "the order is kept");
    }
);

both_databases!(a_compressed_body_is_stored_compressed, |db| async move {
    let daemon = logged(&db, &["github"]).start().await;
    // A gzip member with an empty body: what matters is that nobody opens it.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        .to_vec();
    let signed = github().sign("d-1", "push", gzip.clone());
    let answer = signed.to(GITHUB).header("content-encoding", "gzip").send(daemon.public()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = answer.json()["event"].as_str().unwrap().to_owned();
    assert_stored(&db, &daemon, &event, &gzip, "gzip").await;
});

both_databases!(
    a_header_that_is_not_utf8_in_the_wrong_place_is_refused_and_not_our_failure,
    |db| async move {
        let daemon = logged(&db, &["stripe", "github"]).start().await;
        for (path, signed, header) in [
            (STRIPE, stripe().event("evt_1", "x"), "stripe-signature"),
            (GITHUB, github().event("d-1", "x"), "x-hub-signature-256"),
            (GITHUB, github().event("d-1", "x"), "x-github-delivery"),
        ] {
            let request = signed.to(path).without(header).header(header, b"\xff\xfe\x80");
            let answer = request.send(daemon.public()).await;
            assert!(matches!(answer.status, 400 | 401), "{header}: {answer:?}");
            answer.code();
        }
        assert_eq!(events(&db).await, 0);
        // And it still works.
        daemon
            .sender()
            .send(GITHUB, &Signer::of("github").event("d-2", "x"))
            .await
            .assert_accepted();
    }
);
