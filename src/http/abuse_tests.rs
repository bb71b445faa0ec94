//! The listener over real sockets, against senders who mean harm, or who only send much.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::auth::{self, Door};
use super::body::Limits;
use super::wire_tests::{Echo, PATIENCE, request, status};
use super::{AdminSettings, Readiness, listen, probe};
use crate::secret::Secret;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_first_piece_is_large_is_read_whole() {
    let echo = Echo::limited(Limits { bytes: 4_000_000, timeout: PATIENCE }, 8_000_000);
    let body = vec![b'x'; 2_000_000];
    for length in [16 * 1024 + 1, 40_000, 200_000, 2_000_000] {
        let head = format!("content-length: {length}\r\n");
        let answer = echo.send(&request(&head, &body[..length])).await;
        assert_eq!(status(&answer), 200, "{length} bytes: {}", &answer[..answer.len().min(200)]);
        let got = answer.bytes().rev().take_while(|byte| *byte == b'x').count();
        assert_eq!(got, length);
    }
    // One chunk of many bytes comes in pieces too, and nothing was promised.
    let chunk = [b"9c40\r\n".as_slice(), &body[..40_000], b"\r\n0\r\n\r\n"].concat();
    let answer = echo.send(&request("transfer-encoding: chunked\r\n", &chunk)).await;
    assert_eq!(status(&answer), 200);
}

/// Writes chunks until the other side has closed; without a close this never ends.
async fn send_for_ever(stream: &mut TcpStream, head: &str) {
    stream.write_all(head.as_bytes()).await.expect("a write");
    let chunk = [b"64\r\n".as_slice(), &[b'x'; 100], b"\r\n"].concat();
    let writing = async { while stream.write_all(&chunk).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, writing).await.expect("a close");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_to_a_probe_or_without_a_token_ends_the_connection() {
    let readiness = web::Data::new(Readiness::new());
    let door = web::Data::new(Door::new(&AdminSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        token: Some(Secret::new("correct horse battery".to_owned())),
        hosts: Vec::new(),
    }));
    let server = Echo::serve(move |config| {
        config
            .app_data(readiness.clone())
            .app_data(door.clone())
            .configure(probe::routes)
            .service(web::scope("").wrap(from_fn(auth::guard)));
    });
    for line in ["GET /livez", "GET /readyz", "POST /livez", "GET /metrics", "POST /api/v1/cleanup"]
    {
        let head =
            format!("{line} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
        send_for_ever(&mut server.connect().await, &head).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_keeps_its_connection() {
    let readiness = web::Data::new(Readiness::new());
    let server = Echo::serve(move |config| {
        config.app_data(readiness.clone()).configure(probe::routes);
    });
    let mut stream = server.connect().await;
    for _ in 0..3 {
        assert!(!ask(&mut stream).await.contains("connection: close"));
    }
}

/// Asks whether the other side lives, and returns its answer's head.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("a write");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8_lossy(&answer).to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_held_connections_can_not_grow_without_end() {
    let readiness = web::Data::new(Readiness::new());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let routes = move |config: &mut web::ServiceConfig| {
        config.app_data(readiness.clone()).configure(probe::routes);
    };
    let second = Duration::from_secs(1);
    let listener = listen::bind_keeping(3, any, NonZeroUsize::MIN, second, routes).expect("a port");
    let address = listener.address();
    tokio::spawn(listener.run());
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        assert!(!ask(&mut stream).await.contains("connection: close"));
        // The beginning of a second head: from now on no timer of the framework runs.
        stream.write_all(b"P").await.expect("a write");
        held.push(stream);
    }
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        assert!(ask(&mut stream).await.contains("connection: close"));
        assert!(stream.read_u8().await.is_err(), "it was closed");
    }
    drop(held);
    // Places come free again, as soon as the listener has seen that the others left.
    let kept = async {
        loop {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            if !ask(&mut stream).await.contains("connection: close") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("a place");
}
