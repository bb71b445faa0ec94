//! What isn't protected passes through as it is.

use super::*;
use crate::support::raw::RawRequest;

/// Between two pieces of an answer that goes on.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

both_databases!(other_methods_pass_through_both_ways, |db| async move {
    let service = Endpoint::start().await;
    let answer = Answer::status(200).header("etag", "\"1\"").header("connection", "x-hop");
    service.answer_otherwise(
        answer.header("x-hop", "1").header("x-two", "a").header("x-two", "b").body("[1]"),
    );
    let daemon = gateway(&db, &service, "key = \"optional\"").await;
    let get = RawRequest::new("GET", "/payments/1?expand=a%20b")
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("x-forwarded-for", "198.51.100.7");
    let answer = get.send(daemon.public()).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"[1]"[..]));
    assert_eq!(answer.head.header("etag"), Some("\"1\""));
    assert_eq!(answer.head.header("x-hop"), None);
    assert_eq!(answer.head.headers.iter().filter(|(name, _)| name == "x-two").count(), 2);
    let call = &service.calls()[0];
    assert_eq!(call.target, "/payments/1?expand=a%20b");
    assert_eq!(call.header("x-private"), "");
    assert_eq!(call.header("x-forwarded-for"), "127.0.0.1", "nobody vouches for what was there");
    // A body by its length, and one in pieces.
    let put = RawRequest::new("PUT", "/payments/1").header("content-length", "4");
    assert_eq!(put.with_body(b"data".to_vec()).send(daemon.public()).await.status, 200);
    assert_eq!(service.calls()[1].body, b"data");
    // Without a key that is optional, a POST is passed on.
    let plain = payment("k").without("idempotency-key");
    assert_eq!(plain.send(daemon.public()).await.status, 200);
    assert_eq!(service.count(), 3);
    let elsewhere = RawRequest::new("GET", "/paymentsx").send(daemon.public()).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (404, "unknown_source"));
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 0);
});

both_databases!(an_answer_streams_before_it_is_over, |db| async move {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let table = format!("[gateways.pay]\npath = \"/events\"\nupstream = {upstream:?}\n");
    let daemon = DaemonPlan::on(&db).toml(&table).start().await;
    let mut client = tokio::net::TcpStream::connect(daemon.public()).await.unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (mut service, _) = within(PATIENCE, "a call", listener.accept()).await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert_ne!(service.read_buf(&mut asked).await.unwrap(), 0);
    }
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    service.write_all(head).await.unwrap();
    let mut seen = Vec::new();
    within(PATIENCE, "the first piece", async {
        while !seen.windows(5).any(|it| it == b"first") {
            assert_ne!(client.read_buf(&mut seen).await.unwrap(), 0);
        }
    })
    .await;
    // The client goes, and the service is told.
    drop(client);
    within(PATIENCE, "the service to be told", async {
        let mut rest = Vec::new();
        loop {
            // A client that has gone is noticed by what is written to it.
            if service.write_all(b"1\r\nx\r\n").await.is_err() {
                break;
            }
            let read = tokio::time::timeout(PAUSE, service.read_buf(&mut rest)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
    })
    .await;
});

both_databases!(a_protected_method_becomes_no_websocket, |db| async move {
    let service = Endpoint::start().await;
    let daemon = gateway(&db, &service, "").await;
    let upgrade = payment("k").header("connection", "upgrade").header("upgrade", "websocket");
    let answer = upgrade.send(daemon.public()).await;
    assert_eq!((answer.status, answer.code().as_str()), (501, "upgrade_not_supported"));
    assert_eq!(service.count(), 0);
});
