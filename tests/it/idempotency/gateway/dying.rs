//! What is left when somebody dies half-way: the daemon, the service, the database.

use std::sync::Arc;

use super::*;
use crate::support::PostgresServer;
use tokio::io::AsyncReadExt;

async fn lapse(db: &TestDatabase) {
    crate::idempotency::backdate(db, "lease_until", "k").await;
}

both_databases!(killed_after_the_claim_it_is_refused_and_then_decided_by_policy, |db| async move {
    for (on_unknown, calls) in [("keep", 1), ("rerun", 3)] {
        let service = Endpoint::start().await;
        db.run("DELETE FROM idempotency_key").await;
        service.answer_next([Answer::ok().held()]);
        let mut daemon = gateway(&db, &service, &format!("on_unknown = \"{on_unknown}\"")).await;
        let held = payment("k");
        tokio::select! {
            answer = held.try_send(daemon.public()) => panic!("it is held: {answer:?}"),
            _ = service.wait_for_calls(1, PATIENCE) => {}
        }
        daemon.kill().await;
        daemon.start().await;
        let early = pay(&daemon, "k").await;
        assert_eq!((early.status, early.code().as_str()), (409, "idempotency_in_progress"));
        assert_eq!(service.count(), 1, "until the lease ends nothing runs");
        lapse(&db).await;
        let late = pay(&daemon, "k").await;
        if calls == 1 {
            assert_eq!((late.status, late.code().as_str()), (409, "idempotency_outcome_uncertain"));
            assert_eq!(service.count(), 1);
        } else {
            assert_eq!(late.status, 200);
            assert_eq!(service.count(), 2);
        }
        daemon.stop().await;
    }
});

both_databases!(a_service_that_dies_after_it_received_leaves_an_uncertain_key, |db| async move {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let service = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        while !buffer.ends_with(br#"{"amount":100}"#) {
            assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0);
        }
        drop(stream);
        listener
    });
    let table = format!("[gateways.pay]\npath = \"/payments\"\nupstream = {upstream:?}\n");
    let daemon = DaemonPlan::on(&db).toml(&table).start().await;
    let answer = pay(&daemon, "k").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
    let listener = service.await.unwrap();
    let retry = pay(&daemon, "k").await;
    assert_eq!((retry.status, retry.code().as_str()), (409, "idempotency_outcome_uncertain"));
    // Nobody came a second time.
    let mut second = tokio::task::spawn(async move { listener.accept().await.is_ok() });
    assert!(futures::poll!(&mut second).is_pending());
    second.abort();
});

both_databases!(a_shutdown_waits_for_the_run_and_its_answer_is_kept, |db| async move {
    let service = Endpoint::start().await;
    service.answer_next([Answer::status(201).held()]);
    let mut daemon = gateway(&db, &service, "").await;
    let public = daemon.public();
    let paying = tokio::spawn(async move { payment("k").try_send(public).await });
    service.wait_for_calls(1, PATIENCE).await;
    daemon.ask_to_stop();
    service.release(1);
    assert!(daemon.wait_for_end().await.success());
    assert_eq!(paying.await.unwrap().unwrap().status, 201);
    let done = "SELECT count(*) FROM idempotency_key WHERE status = 'completed'";
    assert_eq!(db.number(done).await, 1);
});

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_dead_the_service_is_not_called() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let service = Endpoint::start().await;
    let daemon = gateway(&db, &service, "").await;
    assert_eq!(pay(&daemon, "before").await.status, 200);
    server.kill();
    let answer = payment("k").send(daemon.public()).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    assert!(answer.head.header("retry-after").is_some());
    assert_eq!(service.count(), 1);
    server.restart();
    eventually(PATIENCE, "the payment to run", || async {
        (pay(&daemon, "k").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(service.count(), 2);
}

both_databases!(a_client_that_does_not_read_decides_nothing, |db| async move {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const BYTES: usize = 48 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let table = format!(
        "[gateways.pay]\npath = \"/events\"\nupstream = {upstream:?}\ntimeout = \"6s\"\nmax_answer = \"1 KiB\"\n"
    );
    let daemon = DaemonPlan::on(&db).toml(&table).start().await;
    let mut client = tokio::net::TcpStream::connect(daemon.public()).await.unwrap();
    let request = b"POST /events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\nidempotency-key: k\r\ncontent-length: 0\r\n\r\n";
    client.write_all(request).await.unwrap();
    let (mut service, _) = within(PATIENCE, "a call", listener.accept()).await.unwrap();
    let mut asked = Vec::new();
    while !asked.windows(4).any(|it| it == b"\r\n\r\n") {
        assert_ne!(service.read_buf(&mut asked).await.unwrap(), 0);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
    service.write_all(head.as_bytes()).await.unwrap();
    within(2 * PATIENCE, "the whole answer to be taken", service.write_all(&vec![b'x'; BYTES]))
        .await
        .unwrap();
    eventually(2 * PATIENCE, "the run to be written down", || async {
        let done = "SELECT count(*) FROM idempotency_key WHERE status = 'completed' AND response_status = 200";
        (db.number(done).await == 1).then_some(())
    })
    .await;
    drop(client);
});

/// What pieces carry; `None` when their end is missing.
fn unchunked(mut pieces: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = pieces.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&pieces[..line]).ok()?, 16).ok()?;
        pieces = &pieces[line + 2..];
        if size == 0 {
            return (pieces == b"\r\n").then_some(whole);
        }
        whole.extend_from_slice(pieces.get(..size)?);
        pieces = pieces.get(size + 2..)?;
    }
}

/// With `fail_open` and the database dead, a large answer that announces no length still ends as it should.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unguarded_large_answer_comes_to_its_end() {
    use tokio::io::AsyncWriteExt;
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let large = "0123456789abcdef".repeat(8192);
    let body = large.clone();
    let service = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        while !buffer.ends_with(br#"{"amount":100}"#) {
            assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0);
        }
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    });
    let table = format!(
        "[gateways.pay]\npath = \"/payments\"\nupstream = {upstream:?}\nmax_answer = \"64 KiB\"\nfail_open = true\n"
    );
    let daemon = DaemonPlan::on(&db).toml(&table).start().await;
    server.kill();
    let answer = payment("k").header("connection", "close").try_send(daemon.public()).await;
    let answer = answer.expect("a whole answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.head.header("transfer-encoding"), Some("chunked"));
    let whole = unchunked(&answer.body).expect("its end");
    assert!(whole == large.as_bytes(), "{} bytes", whole.len());
    drop(service.await.unwrap());
}
